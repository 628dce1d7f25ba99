//! Shrinks a picture: a binary PPM (P6) on stdin, a text PPM (P3) of at most WIDTH (first argument, default 64) on stdout.
//! Each pixel of the small picture is the mean of those it covers.
use pthread_stubs as _;
use std::io::{Read, Write};
use std::process::ExitCode;

struct Picture {
    width: usize,
    height: usize,
    /// Red, green, blue of each pixel, row by row.
    rgb: Vec<u8>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("thumbnail: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let width = match std::env::args().nth(1) {
        Some(text) => text.parse().ok().filter(|w| *w > 0).ok_or(format!("the width {text:?} is not a number above 0"))?,
        None => 64,
    };
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    let picture = parse(&bytes).ok_or("stdin is not a binary PPM with 8 bits a channel")?;
    let small = shrink(&picture, width.min(picture.width));
    eprintln!("thumbnail: {}x{} to {}x{}", picture.width, picture.height, small.width, small.height);
    write(&small, std::io::stdout().lock()).map_err(|e| e.to_string())
}

fn parse(bytes: &[u8]) -> Option<Picture> {
    let mut at = 0;
    let mut word = || {
        while bytes.get(at)?.is_ascii_whitespace() || bytes[at] == b'#' {
            let comment = bytes[at] == b'#';
            at += if comment { bytes[at..].iter().position(|b| *b == b'\n')? } else { 1 };
        }
        let start = at;
        while !bytes.get(at)?.is_ascii_whitespace() {
            at += 1;
        }
        std::str::from_utf8(&bytes[start..at]).ok()
    };
    let (magic, width, height, max) = (word()?, word()?.parse().ok()?, word()?.parse().ok()?, word()?);
    let size = 3usize.checked_mul(width)?.checked_mul(height)?;
    let rgb = bytes.get(at + 1..at.checked_add(1)?.checked_add(size)?)?.to_vec();
    (magic == "P6" && max == "255" && size > 0).then_some(Picture { width, height, rgb })
}

fn shrink(from: &Picture, width: usize) -> Picture {
    let height = (from.height * width / from.width).max(1);
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        let rows = y * from.height / height..((y + 1) * from.height).div_ceil(height);
        for x in 0..width {
            let columns = x * from.width / width..((x + 1) * from.width).div_ceil(width);
            let mut sum = [0u64; 3];
            for row in rows.clone() {
                for column in columns.clone() {
                    let pixel = 3 * (row * from.width + column);
                    (0..3).for_each(|c| sum[c] += u64::from(from.rgb[pixel + c]));
                }
            }
            let covered = (rows.len() * columns.len()) as u64;
            rgb.extend(sum.map(|s| ((s + covered / 2) / covered) as u8));
        }
    }
    Picture { width, height, rgb }
}

fn write(picture: &Picture, to: impl Write) -> std::io::Result<()> {
    let mut to = std::io::BufWriter::new(to);
    writeln!(to, "P3\n{} {}\n255", picture.width, picture.height)?;
    for row in picture.rgb.chunks_exact(3 * picture.width) {
        let row: Vec<_> = row.iter().map(u8::to_string).collect();
        writeln!(to, "{}", row.join(" "))?;
    }
    to.flush()
}
