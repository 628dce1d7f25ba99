//! Takes memory until it is refused: its memory limit stops it.
use pthread_stubs as _;

const MIB: usize = 1 << 20;

fn main() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut block = Vec::new();
        if block.try_reserve_exact(MIB).is_err() {
            eprintln!("hog: memory was refused at {} MiB", held.len());
            std::process::abort();
        }
        // Touched, so that it is really taken.
        block.resize(MIB, 1u8);
        held.push(std::hint::black_box(block));
        if held.len() % 16 == 0 {
            eprintln!("hog: {} MiB", held.len());
        }
    }
}
