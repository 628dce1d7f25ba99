//! Does what its arguments say with the job's key-value namespace, and prints a line for each: `set:KEY:VALUE`, `get:KEY`,
//! `add:KEY:N`, `delete:KEY`, `exists:KEY`, `list`, `fill:KEYS:BYTES`, `open:NAME`, and `spin`, which never ends.
use pthread_stubs as _;

wit_bindgen::generate!({ path: "wit", world: "imports" });

use wasi::keyvalue::atomics::increment;
use wasi::keyvalue::store::{open, Bucket, Error};

fn told(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no such store".to_owned(),
        Error::AccessDenied => "access denied".to_owned(),
        Error::Other(why) => format!("refused: {why}"),
    }
}

fn all_keys(bucket: &Bucket) -> Result<Vec<String>, Error> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let found = bucket.list_keys(cursor)?;
        keys.extend(found.keys);
        cursor = found.cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

fn perform(bucket: &Bucket, what: &str) -> Result<String, Error> {
    let parts: Vec<&str> = what.splitn(3, ':').collect();
    let number = |text: &str| text.parse().expect("a number");
    Ok(match parts[..] {
        ["set", key, value] => {
            bucket.set(key, value.as_bytes())?;
            "set".to_owned()
        }
        ["get", key] => bucket.get(key)?.map_or("nothing".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()),
        ["add", key, n] => increment(bucket, key, number(n))?.to_string(),
        ["delete", key] => {
            bucket.delete(key)?;
            "deleted".to_owned()
        }
        ["exists", key] => bucket.exists(key)?.to_string(),
        ["list"] => {
            let keys = all_keys(bucket)?;
            let shown: Vec<_> = keys.iter().take(5).map(String::as_str).collect();
            format!("{}: {}", keys.len(), shown.join(" "))
        }
        ["fill", keys, bytes] => {
            let value = vec![b'x'; number(bytes) as usize];
            for n in 0..number(keys) {
                bucket.set(&format!("key-{n}"), &value)?;
            }
            "filled".to_owned()
        }
        ["open", name] => {
            open(name)?;
            "opened".to_owned()
        }
        ["spin"] => loop {
            bucket.set("spin", b"x")?;
        },
        _ => panic!("{what} is nothing that can be done"),
    })
}

fn main() {
    let bucket = match open("default") {
        Ok(bucket) => bucket,
        Err(error) => {
            println!("{}", told(error));
            return;
        }
    };
    for what in std::env::args().skip(1) {
        println!("{}", perform(&bucket, &what).unwrap_or_else(told));
    }
}
