//! A command for the host's tests: its first argument selects what it does.
use pthread_stubs as _;
use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn number(arg: Option<&String>) -> u64 {
    arg.and_then(|a| a.parse().ok()).expect("a number")
}

fn flood(mut to: impl Write, bytes: u64) {
    let block = [b'x'; 4096];
    let mut left = bytes;
    while left > 0 {
        let n = left.min(4096) as usize;
        if to.write_all(&block[..n]).is_err() {
            std::process::exit(9);
        }
        left -= n as u64;
    }
    let _ = to.flush();
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str).unwrap_or("args") {
        "args" => args.iter().for_each(|a| println!("{a}")),
        "env" => {
            let mut env: Vec<_> = std::env::vars().collect();
            env.sort();
            env.iter().for_each(|(k, v)| println!("{k}={v}"));
        }
        "stdin" => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).expect("stdin");
            std::io::stdout().write_all(&text).expect("stdout");
        }
        "exit" => std::process::exit(number(args.get(2)) as i32),
        "panic" => panic!("asked to panic"),
        "stdout" => flood(std::io::stdout(), number(args.get(2))),
        "stderr" => flood(std::io::stderr(), number(args.get(2))),
        "log" => {
            for line in 0..number(args.get(2)) {
                eprintln!("line {line}");
            }
        }
        "alloc" => {
            let held = vec![1u8; number(args.get(2)) as usize * (1 << 20)];
            println!("held {} bytes", std::hint::black_box(&held).len());
        }
        "sleep" => {
            let began = Instant::now();
            std::thread::sleep(Duration::from_millis(number(args.get(2))));
            println!("slept {} ms", began.elapsed().as_millis());
        }
        "spin" => loop {
            std::hint::black_box(0);
        },
        "count" => {
            let mut n = 0u64;
            for i in 0..number(args.get(2)) {
                n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(i));
            }
            println!("{n}");
        }
        "files" => {
            println!("passwd {:?}", std::fs::read_to_string("/etc/passwd").map(|s| s.len()).map_err(|e| e.kind()));
            println!("root {:?}", std::fs::read_dir("/").map(|d| d.count()).map_err(|e| e.kind()));
            println!("write {:?}", std::fs::write("/tmp/x", "x").map_err(|e| e.kind()));
        }
        "clock" => println!("{}", SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()),
        other => {
            eprintln!("probe: unknown behaviour {other:?}");
            std::process::exit(2);
        }
    }
}
