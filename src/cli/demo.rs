//! The demo components, embedded: what `dev` runs, and what `run` knows by name.

/// One well-behaved, one that spins, one that hogs memory. Sources: `guests/rust/demo-*`.
pub const DEMOS: [Demo; 3] = [
    Demo {
        name: "hello",
        bytes: include_bytes!("../../guests/demo/hello.wasm"),
        args: &["from", "bellcage", "dev"],
        every: "3s",
        fuel: None,
        memory: None,
        about: "behaves: says what it was given",
    },
    Demo {
        name: "spin",
        bytes: include_bytes!("../../guests/demo/spin.wasm"),
        args: &[],
        every: "5s",
        fuel: Some(200_000_000),
        memory: None,
        about: "never ends by itself",
    },
    Demo {
        name: "hog",
        bytes: include_bytes!("../../guests/demo/hog.wasm"),
        args: &[],
        every: "7s",
        fuel: None,
        memory: Some(32 << 20),
        about: "takes memory until it is refused",
    },
];

pub struct Demo {
    /// Of the component and of its job.
    pub name: &'static str,
    pub bytes: &'static [u8],
    pub args: &'static [&'static str],
    pub every: &'static str,
    /// Limits of its own.
    pub fuel: Option<u64>,
    pub memory: Option<u64>,
    pub about: &'static str,
}

/// The demo of this name.
pub fn find(name: &str) -> Option<&'static Demo> {
    DEMOS.iter().find(|demo| demo.name == name)
}
