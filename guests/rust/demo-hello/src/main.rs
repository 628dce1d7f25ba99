//! The well-behaved demo: says what it was given. Its stdout is the run's result, its stderr the run's log.
use pthread_stubs as _;
use std::io::Read;

fn main() {
    eprintln!("hello: started");
    let args: Vec<String> = std::env::args().skip(1).collect();
    println!("hello from inside the cage");
    println!("args: {}", args.join(" "));
    let mut env: Vec<_> = std::env::vars().collect();
    env.sort();
    for (name, value) in env {
        println!("env: {name}={value}");
    }
    let mut stdin = Vec::new();
    let read = std::io::stdin().read_to_end(&mut stdin).unwrap_or(0);
    println!("stdin: {read} bytes");
    if let Ok(now) = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        println!("clock: {} s after 1970", now.as_secs());
    }
    println!("files: {}", if std::fs::metadata("/").is_ok() { "some" } else { "none" });
    eprintln!("hello: done");
}
