//! Every error code, its cause and its remedy, in one place. A test holds this table against what the sources can emit.

pub struct Code {
    pub code: &'static str,
    /// One sentence without its full stop.
    pub cause: &'static str,
    /// What to do, after "What to do:".
    pub remedy: &'static str,
}

/// The code's entry.
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|c| c.code == code)
}

const fn code(code: &'static str, cause: &'static str, remedy: &'static str) -> Code {
    Code { code, cause, remedy }
}

pub const CODES: &[Code] = &[
    // How a run ended.
    code("exit-code", "the guest ended with an exit code that is not 0", "read its log with bellcage runs logs RUN; the code is the guest's own"),
    code(
        "trap",
        "the guest did what WebAssembly forbids: unreachable code (a panic), a stack overflow, an access out of bounds",
        "read its log and the backtrace with bellcage explain run RUN; the fault is in the guest",
    ),
    code(
        "out-of-fuel",
        "the guest used all the fuel that limits.fuel gives one attempt",
        "raise limits.fuel if the work is worth it; if the guest spins, mend it",
    ),
    code(
        "out-of-memory",
        "the guest asked for more memory than limits.memory gives it, and died of the refusal",
        "raise limits.memory, or let the guest work in smaller pieces",
    ),
    code(
        "executor-memory",
        "the guest asked for memory within limits.memory, but the guests beside it held all that the server gives its guests, and it died of the refusal",
        "nothing is wrong with the job, which is attempted again by its retry policy; let the operator raise executor.memory, or lower limits.memory of what holds much",
    ),
    code("timeout", "the attempt took longer than limits.timeout, time in host calls included", "raise limits.timeout, or find out what the guest waits for"),
    code("cancelled", "somebody, a later firing, or a server that stopped ended the run", "run it again with bellcage trigger JOB if it is still wanted"),
    code(
        "limit-result",
        "the result (a command's standard output, or the JSON of what a function returned) is larger than limits.result",
        "raise limits.result, or write less; logs belong on standard error",
    ),
    code("limit-host-calls", "the guest called the host more often than limits.host_calls", "raise limits.host_calls, or read and write in larger pieces"),
    code("limit-resources", "the guest held more handles at once than limits.resources", "raise limits.resources, or let the guest close what it opens"),
    code(
        "limit-host-call-bytes",
        "the guest gave the host more bytes in one call than limits.host_call_bytes",
        "raise limits.host_call_bytes, or write in smaller pieces",
    ),
    code("limit-random", "the guest asked for more random bytes in one call than limits.random", "raise limits.random, or ask for less at a time"),
    code(
        "limit-kv-bytes",
        "the guest would have kept more bytes in its key-value namespace than limits.kv_bytes, and failed when it was told so",
        "let it delete keys, or raise limits.kv_bytes",
    ),
    code(
        "limit-kv-keys",
        "the guest would have kept more keys in its key-value namespace than limits.kv_keys, and failed when it was told so",
        "let it delete keys, or raise limits.kv_keys",
    ),
    code(
        "limit-http-body",
        "the body of an HTTP request of the guest, or of the response to one, was larger than limits.http_body, and the guest failed when it was told so",
        "let it send or ask for less at a time (such as a range), or raise limits.http_body",
    ),
    code(
        "limit-http-requests",
        "the guest had more HTTP requests going, or responses that it had not let go of, than limits.http_requests, and failed when it was told so",
        "let it wait for one before the next, or raise limits.http_requests",
    ),
    code("limit-instances", "the component has more core instances than limits.instances", "raise limits.instances, or compose it of fewer parts"),
    code("limit-table-elements", "the component's tables have more elements than limits.table_elements", "raise limits.table_elements"),
    code("returned-err", "the exported function returned its error case", "read the value with bellcage runs show RUN; the error is the guest's own"),
    code("returned-failure", "the typed job returned a failure", "read its message and log with bellcage runs show RUN; the failure is the guest's own"),
    code(
        "result-not-json",
        "a typed job returned, or a command with stdout = \"json\" printed, a text that is not JSON",
        "let it give JSON (a typed job may give nothing); a text is a JSON string, with its quotes; what is no result belongs on stderr",
    ),
    code(
        "host-error",
        "the host refused a call of the guest in a way that ended it",
        "read its log and the message; the guest may ask for what it was not granted",
    ),
    code("executor-failed", "the executor itself failed on this attempt; it is not the guest's fault", "run it again; please report it with the server's log"),
    code(
        "worker-died",
        "the process that ran the attempt ended before it could report: it crashed, hung, was killed, or did what a guest must never do",
        "let its retry policy run it again; where the message says signal SYS, a guest got out of its sandbox: look at it, and please report it",
    ),
    code(
        "no-worker",
        "no process that runs guests stays alive on this machine",
        "read the server's log and see bellcage doctor; the run is attempted again by its retry policy",
    ),
    code("artefact-unusable", "the compiled component cannot be used by this executor", "push the component again"),
    code("entry-missing", "the component has no longer the entry that the job names", "push a version that has it, or change the job"),
    code("args-not-argv", "the arguments of a command are not a list of strings", "give them as such: args = [\"--limit\", \"10\"]"),
    code("bad-args", "the arguments do not fit the function's signature", "see the signature with bellcage component show NAME"),
    code(
        "determinism-not-offered",
        "a deterministic attempt was asked of an executor whose engine is not set so",
        "set EngineSettings::deterministic for compiler and executor, or use: bellcage run --deterministic",
    ),
    code("isolation-not-offered", "the job asks for an isolation that this executor does not have", "leave isolation out, or run it where the executor has it"),
    code(
        "lost",
        "the server that ran it died, or lost its claim on the run, and no attempt was left",
        "look at the server's log of that time; give the job more attempts with retry.max_attempts",
    ),
    // Components.
    code("component-not-uploaded", "a job or a command names a component that nobody pushed", "push it: bellcage component push FILE.wasm"),
    code("no-such-version", "the component has no such version", "see its versions with bellcage component show NAME"),
    code("no-such-entry", "the component exports nothing of that name", "see its entries with bellcage component show NAME"),
    code("ambiguous-entry", "the entry's short name may mean functions of several interfaces", "name the interface in full; see bellcage component show NAME"),
    code(
        "entry-not-callable",
        "the entry is a function with a resource, a stream or a future in its signature, which JSON cannot give",
        "export a function of plain values (numbers, strings, lists, records, variants), or a command (wasi:cli/run)",
    ),
    code(
        "asks-for-more",
        "the new version of the component imports what would use grants that the version before did not ask for, so it was not stored",
        "where that is as it should be, push it with --approve-grants (approve_grants=true over HTTP); jobs get nothing but what they were granted",
    ),
    code(
        "breaks-jobs",
        "jobs that follow the component's name could not run the new version: their entry is gone, or their arguments do not fit",
        "change these jobs first, or push the version with --force: they are then refused as they fire",
    ),
    code(
        "no-such-directory",
        "a job is to have a directory that the server does not list",
        "let the operator list it: [directories.NAME] path = \"…\" in bellcage.toml",
    ),
    code(
        "directory-read-only",
        "a job is to write in a directory that is listed for reading only",
        "leave write out, or let the operator list it with write = true",
    ),
    code("directory-missing", "a directory that the server lists could not be opened when the run began", "let the operator look after its path"),
    code(
        "scratch-too-large",
        "a job's scratch directory is to be larger than executor.scratch_max, or than an eighth of executor.memory",
        "make it smaller, or let the operator raise executor.scratch_max or executor.memory",
    ),
    code(
        "scratch-unavailable",
        "the machine gives a process no namespaces of its own, or no file system in memory, so there can be no scratch directory",
        "see bellcage doctor; containers often need a setting for user namespaces",
    ),
    code("no-such-secret", "a secret that a job is to have does not exist", "store it with bellcage secret set NAME, or take it out of the job's grants"),
    code(
        "bad-secret",
        "the value of a secret is empty, longer than 64 KiB, or has a NUL character in it",
        "give it another value; bytes that are no text can be encoded",
    ),
    code("too-many-secrets", "there are as many secrets as are kept", "remove one with bellcage secret rm NAME"),
    code("no-secrets-key", "the server has no key for secrets", "name one with secrets.key_file or BELLCAGE_SECRETS_KEY and start it again"),
    code(
        "bad-secrets-key",
        "what is configured as the key of the secrets is none",
        "a key is 32 bytes in hexadecimal digits or base64, such as openssl rand -hex 32 prints",
    ),
    code(
        "secrets-key-differs",
        "a secret was stored under another key than the server has now",
        "start the server with that key, or store the secret again with bellcage secret set NAME",
    ),
    code("secret-damaged", "what is stored of a secret was changed or cut off", "store it again with bellcage secret set NAME, and look after the disk"),
    code(
        "calendar-in-use",
        "the exclusion calendar cannot be removed while jobs refer to it",
        "change these jobs first, or empty it with bellcage calendar set NAME",
    ),
    code("component-in-use", "the component cannot be removed while jobs need it", "remove these jobs first with bellcage job rm JOB"),
    code(
        "component-too-large",
        "the component has more bytes than server.component_max",
        "make it smaller (optimise for size, strip debug information), or raise server.component_max",
    ),
    code("component-not-wasm", "the file is not WebAssembly", "push the .wasm file that your compiler wrote, such as target/wasm32-wasip2/release/NAME.wasm"),
    code(
        "component-core-module",
        "the file is a core WebAssembly module of which no component can be made",
        "build it for wasm32-wasip2, as a WASI preview 1 program, or as a library whose functions take numbers",
    ),
    code("component-precompiled", "the file is compiled native code, which is never taken from outside", "push the .wasm file that it was made from"),
    code("component-truncated", "the file ends too early", "copy or build it again, and compare its size"),
    code("component-invalid", "the file is not a valid component", "see why with wasm-tools validate FILE.wasm"),
    code(
        "component-unknown-import",
        "the component imports an interface that bellcage does not offer",
        "build it for WASI 0.2 (wasm32-wasip2) without that interface",
    ),
    code("component-import-mismatch", "the component imports an offered interface in another shape", "build it against WASI 0.2 as published"),
    code(
        "component-unknown-export",
        "the component is a typed job of a version of bellcage:job that is not known here",
        "build it against bellcage:job 0.1, or use a newer bellcage",
    ),
    code(
        "component-export-mismatch",
        "the component exports bellcage:job/entry in another shape than the published one",
        "build it against bellcage:job 0.1 as published: wit/job.wit",
    ),
    code(
        "component-needs-too-much",
        "the component needs more memory, tables or instances from the start than can be given",
        "build it with less, or raise the limit_caps of the server",
    ),
    code("component-no-entry", "the component exports nothing that a job could call", "build it as a command (wasi:cli/run), or export a function"),
    code(
        "component-damaged",
        "what this server stored of a component cannot be read back",
        "push the component again; look for what damaged the data directory",
    ),
    code(
        "component-machine",
        "the machine did not do what compiling needs: a file, a process",
        "see the server's log; look at the disk's room and the data directory's rights",
    ),
    code(
        "compile-cpu",
        "compiling the component took more CPU time than compile.cpu",
        "let the guest's compiler optimise for size, split very large functions, or raise compile.cpu",
    ),
    code(
        "compile-memory",
        "compiling the component took more memory than compile.memory",
        "let the guest's compiler optimise for size, split very large functions, or raise compile.memory",
    ),
    code("compile-wall", "compiling the component took longer than compile.wall", "try again when the machine is less busy, or raise compile.wall"),
    code("compile-artefact-size", "the compiled component is larger than compile.artefact", "make the component smaller, or raise compile.artefact"),
    code("compiler-busy", "too many components of the tenant wait to be compiled", "push it again when some of these are done"),
    code(
        "compiler-unconfined",
        "the machine offers no Landlock or no seccomp, without which nothing that was uploaded is compiled",
        "see bellcage doctor; executor.confinement = \"best-effort\" does with what there is",
    ),
    code("compiler-failed", "the compiler itself failed on this component", "build the component with another version of its compiler; please report it"),
    code("component-gone", "the component was removed after the job was added", "push it again, or change the job"),
    // Triggers.
    code("bad-cron", "the cron expression is not valid; the carets show the place", "see what each field was taken for with bellcage explain cron EXPR"),
    code("bad-duration", "the duration is not valid", "write it as 90s, 15m, 1h30m, or PT90S"),
    code("bad-instant", "the instant is not valid, or is a local time without a zone", "write it as 2026-03-29T03:30:00Z, or add a timezone"),
    code("bad-trigger", "the trigger is not valid", "try it with bellcage next --trigger JSON"),
    code("bad-calendar", "a calendar of excluded times is not valid, or no calendar has this name", "change the part that the message names"),
    code("unknown-timezone", "no time zone has this name", "use an IANA name such as Europe/Stockholm"),
    code(
        "never-fires",
        "the expression names no instant that will ever come, such as 30 February",
        "see what each field was taken for with bellcage explain cron EXPR",
    ),
    code("trigger-ended", "every instant that the trigger names is in the past", "give it an instant to come, or a manual trigger and bellcage trigger JOB"),
    code("too-often", "the interval is shorter than scheduler.every_min", "take a longer one, or lower scheduler.every_min"),
    code("past-start", "a run on demand was asked for at a time that is past", "leave the time out to run it now"),
    code("bad-backfill", "a backfill's period is not past, or one of its bounds is not a number it can have", "change what the message names"),
    code("backfill-too-large", "the trigger named more instants in the period than the backfill's limit", "take a shorter period, or raise --limit"),
    code("no-upstream", "a job follows one that does not exist", "add the upstream job first, or correct its name in after"),
    code("job-cycle", "jobs would follow each other in a circle, so that none would ever begin or all would run for ever", "let one of them follow no other"),
    code("too-many-upstream", "the job follows too many others, those that they follow included", "make the chain shorter"),
    // Jobs and runs.
    code(
        "bad-id",
        "a job id, component name, run id or key is not valid",
        "names have 1 to 100 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit; run ids are listed by bellcage runs list",
    ),
    code("bad-reference", "a reference to a component is not valid", "write it as name, name@3 or name@sha256:…, each with :entry where the entry is not main"),
    code("bad-job", "a job's definition holds what no run could honour", "change the field that the message names"),
    code(
        "key-value-refused",
        "a key is empty or too long, its namespace is full or has as many keys as it may, or a number was added to what is none",
        "delete keys, or raise limits.kv_bytes or limits.kv_keys of the job",
    ),
    code(
        "private-address",
        "a job is to be granted requests to this machine or a private network, which this server lets no job reach",
        "name another origin, or let the server's operator set http.private = true",
    ),
    code(
        "bad-limit",
        "a limit is zero, above a cap of the server or of the tenant, or, of memory, above what one attempt can have of executor.memory",
        "see the caps with bellcage config show, and bellcage doctor",
    ),
    code("bad-jobs-file", "the file of jobs is not TOML, or a job in it has an unknown or wrong field", "change the line that the message names"),
    code("not-found", "there is no job, run, component, calendar or secret of this name", "see what there is, with bellcage job list for example"),
    code("job-exists", "a job with this id exists", "replace it with --on-conflict replace, or keep it with --on-conflict keep"),
    code("job-changed", "somebody else changed the job meanwhile", "read it again and repeat the change"),
    code("no-log", "the run, or this attempt of it, has no log", "a log is kept when its attempt ends"),
    // The store.
    code("store-locked", "another server uses this data directory", "stop that server, or give this one a directory of its own with --data"),
    code("store-newer", "the store was written by a newer bellcage", "use that version or a newer one; nothing was changed"),
    code("store-corrupt", "the store's file is not a bellcage store, or is damaged", "restore a backup, or move the file away to begin with an empty store"),
    code("store-read-only", "the store's directory or file cannot be written", "give the user the right to write there, or name another directory with --data"),
    code("store-closed", "the store was closed while something was asked of it", "ask again when the server has started anew"),
    code("store-failed", "the database failed in a way that has no name of its own", "see the server's log"),
    code("simulation-failed", "the jobs could not be simulated", "read the message; it names the job"),
    code("bench-failed", "bellcage bench could not measure a row", "read the message; it needs a data directory that it can write to"),
    code("bad-name", "the name of a new project is not one that every tool takes", "use lower-case letters, digits and hyphens, a letter first"),
    code("exists", "a folder or file of the new project's name is there already", "choose another name, or move it away"),
    code("not-written", "a file could not be written", "look at the message: a full disk, or a folder that is not yours"),
    code("disk-full", "the disk is full; nothing was written", "make room"),
    // Speaking to a server.
    code("server-unreachable", "nobody answers at the server's address", "start one with bellcage dev or bellcage serve, or name another with --server"),
    code("server-timeout", "the server took the request and did not answer in time", "see whether it is overloaded: its /metrics and its log"),
    code("connection-broken", "the connection ended before the answer did", "see whether the request was carried out before you repeat it"),
    code("not-a-bellcage-server", "something else than bellcage, or a very different version, answers there", "name the right server with --server"),
    code("answer-too-large", "the server's answer is larger than this client takes", "ask for less at a time with --limit"),
    code("bad-server-address", "the server's address is not valid", "write it as http://127.0.0.1:7878"),
    code(
        "bad-token",
        "the token is empty, too short, or holds characters that no token has",
        "use 16 or more letters, digits and signs, such as the output of: openssl rand -hex 24",
    ),
    code("token-missing", "the request carried no token", "set BELLCAGE_TOKEN to what the server's data directory holds in the file token"),
    code(
        "token-wrong",
        "the request carried a token that is not this server's",
        "set BELLCAGE_TOKEN to what the server's data directory holds in the file token",
    ),
    code(
        "wrong-host",
        "the request named a host that is not this server",
        "speak to it as localhost or 127.0.0.1; for a proxy in front, name its host in server.hosts",
    ),
    code("cross-origin", "a page of another origin sent the request", "call the API from a program"),
    code("no-such-route", "the server has nothing at this path", "see what there is in /api/openapi.json"),
    code("method-not-allowed", "the path does not take this method", "see what it takes in /api/openapi.json"),
    code("not-json", "the body is not sent as application/json", "send the header Content-Type: application/json"),
    code("bad-json", "the body is not JSON", "check it with a JSON parser"),
    code("bad-body", "the body is JSON, but not what this request takes", "see the fields in /api/openapi.json"),
    code(
        "body-too-large",
        "the body is larger than server.body_max, or a component than server.component_max",
        "send less, or raise the cap in the server's configuration",
    ),
    code("body-too-slow", "the body did not come in time", "try again over a better connection"),
    code("body-cut", "the body ended early", "send it again"),
    code("bad-header", "a header of the request is not valid, or not taken here", "see the headers in /api/openapi.json"),
    code("bad-cursor", "the cursor is not one that this server gave", "leave it out to begin at the first page"),
    code("bad-parameter", "a query parameter has a value that is not valid", "see the parameters in /api/openapi.json"),
    code("unknown-parameter", "the query has a parameter that this request does not take", "see the parameters in /api/openapi.json"),
    code(
        "idempotency-key-reused",
        "the same idempotency key was used for another request",
        "use a fresh key for each request, the same one only to repeat it unchanged",
    ),
    code("busy", "too many requests of this kind are going", "try again in a moment"),
    code("not-ready", "the server's store does not answer", "see the server's log"),
    code("shutting-down", "the server is shutting down and takes nothing new", "ask again when it has started anew"),
    code("public-without-token", "the server would listen on a public address without a token", "set server.token, or listen on 127.0.0.1"),
    code("cannot-listen", "the address cannot be listened on", "choose another port with --listen; port 0 is any free one"),
    // The command line.
    code("usage", "the command line is wrong", "see the arguments with --help"),
    code("file", "a file cannot be read or written", "look at its path and rights"),
    code("config-unreadable", "the configuration file cannot be read", "look at its path and rights"),
    code(
        "bad-config",
        "the configuration file is not TOML, or a setting has a value that it cannot have",
        "see all settings with bellcage config show --defaults",
    ),
    code("unknown-setting", "there is no such setting", "see all settings with bellcage config show"),
    code("unknown-code", "there is no such error code", "see all of them with bellcage explain error"),
    code(
        "confinement-missing",
        "this machine does not give processes that run guests the confinement that executor.confinement demands",
        "see what is missing with bellcage doctor; allow it on the machine, or demand less",
    ),
    code(
        "nothing-to-suggest-from",
        "limits are suggested from runs that succeeded, and of this job none has",
        "run it with generous limits first: bellcage trigger JOB --wait",
    ),
    code("executor", "the executor could not start", "look at the machine's limits on memory and threads"),
    code("internal", "bellcage failed; it is a fault of ours or of the machine", "see the server's log; please report it"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_listed_twice_and_none_ends_in_a_full_stop() {
        for (i, code) in CODES.iter().enumerate() {
            assert!(CODES[..i].iter().all(|other| other.code != code.code), "{}", code.code);
            assert!(!code.cause.ends_with('.') && !code.remedy.ends_with('.'), "{}", code.code);
        }
    }
}
