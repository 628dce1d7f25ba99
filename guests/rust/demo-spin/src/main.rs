//! Never ends by itself: its fuel limit stops it.
use pthread_stubs as _;

fn main() {
    eprintln!("spin: I will never stop by myself");
    let mut n = 0u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}
