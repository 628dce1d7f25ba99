//! A hash for short keys, ids and digests, at a fraction of the cost of the standard library's: each word is multiplied with a secret
//! number, and both halves of the product are kept; at the end once more, since with one such number in forty keys that count up would otherwise
//! fall on few places. Whoever does not know the number cannot choose keys that meet.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Of a map.
#[derive(Clone)]
pub(super) struct Folding {
    secret: u64,
}

pub(super) struct Folded {
    secret: u64,
    state: u64,
}

impl Default for Folding {
    fn default() -> Self {
        // Odd, so that no bit of a word is lost.
        Self { secret: RandomState::new().hash_one(0) | 1 }
    }
}

impl BuildHasher for Folding {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { secret: self.secret, state: self.secret }
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.secret);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.state, self.secret)
    }
}

fn fold(word: u64, secret: u64) -> u64 {
    let product = u128::from(word) * u128::from(secret);
    (product as u64 ^ (product >> 64) as u64).rotate_left(23)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_that_differ_in_one_bit_or_count_up_do_not_meet() {
        for _ in 0..200 {
            let folding = Folding::default();
            let bits = (0..256).map(|bit| {
                let mut key = [0_u8; 32];
                key[bit / 8] = 1 << (bit % 8);
                folding.hash_one(key)
            });
            let numbers = (1..=4_096_u128).map(|n| folding.hash_one(n.to_be_bytes()));
            let hashes: Vec<_> = bits.chain(numbers).collect();
            let of = |part: fn(u64) -> u64| hashes.iter().map(|hash| part(*hash)).collect::<HashSet<_>>().len();
            assert_eq!(of(|hash| hash), hashes.len(), "{:#x}", folding.secret);
            // What a map of so many looks at: 4,352 keys fall on no fewer than half as many of 8,192 places, and on all of its 128 tags.
            assert!(of(|hash| hash % 8_192) > 2_176, "{} with {:#x}", of(|hash| hash % 8_192), folding.secret);
            assert_eq!(of(|hash| hash >> 57), 128, "{:#x}", folding.secret);
        }
    }

    #[test]
    fn two_maps_hash_the_same_key_differently() {
        assert_ne!(Folding::default().hash_one([1_u8; 16]), Folding::default().hash_one([1_u8; 16]));
    }
}
