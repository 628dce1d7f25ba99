//! What all guests of a worker may hold in memory together: its part of `executor.memory`.
//!
//! ```text
//! a worker's part ─┬─ a floor for each slot, which is its attempt's whatever others hold
//!                  └─ the rest, in common: what attempts hold above their floor, as long as there is some
//! ```
//! So the sum is never above the part, however many grow, and who needs little is never refused for what others hold. A growth
//! within `limits.memory` that is refused here is the server's want and not the guest's fault (`ending`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most that is kept for each slot.
const FLOOR_MAX: u64 = 16 << 20;

/// What may be left behind at most, and the most of a memory that stays with an unused slot.
const LEFT_BEHIND_MAX: u64 = 64 << 20;
const KEPT_MAX: u64 = 1 << 20;

const PAGE: u64 = 64 << 10;

/// Of one worker.
#[derive(Debug)]
pub(super) struct Budget {
    floor: u64,
    common: u64,
    /// Of `common`.
    used: AtomicU64,
    /// What attempts held that have ended, and the pool may not have given back to the machine yet.
    left_behind: AtomicU64,
    left_behind_max: u64,
}

/// What one attempt holds of it; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// At most half of `part` is kept for the slots.
    pub fn new(part: u64, slots: u64) -> Self {
        let slots = slots.max(1);
        let floor = (part / 2 / slots).min(FLOOR_MAX);
        let left_behind_max = (part / 4).min(LEFT_BEHIND_MAX);
        Self { floor, common: part - floor * slots, used: AtomicU64::new(0), left_behind: AtomicU64::new(0), left_behind_max }
    }

    /// The most that one attempt can hold: when others hold no more than their floor.
    pub fn most(&self) -> u64 {
        self.floor + self.common
    }

    /// Bytes of a memory that stay with an unused slot, cleared, so that its next attempt takes no page faults for them. Of the
    /// slot's floor: what unused slots keep is no more than what is set aside for them.
    pub fn kept(&self) -> u64 {
        self.floor.min(KEPT_MAX) / PAGE * PAGE
    }

    /// Whether so much was left behind that the pool has to be cleared up now. Says so once.
    pub fn is_to_be_cleared(&self) -> bool {
        self.left_behind.load(Ordering::Relaxed) > self.left_behind_max && self.left_behind.swap(0, Ordering::Relaxed) > 0
    }

    /// The same in whole pages of wasm.
    pub fn most_pages(&self) -> u64 {
        self.most() / PAGE * PAGE
    }

    fn above_floor(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.floor)
    }
}

impl Held {
    pub fn of(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Whether the attempt may hold so many bytes, of which it then holds all.
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        let Budget { common, used, .. } = &*self.budget;
        let more = self.budget.above_floor(bytes).saturating_sub(self.budget.above_floor(self.bytes));
        let fits = |used: u64| used.checked_add(more).filter(|used| used <= common);
        if more > 0 && used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return false;
        }
        self.bytes = self.bytes.max(bytes);
        true
    }

    pub fn most(&self) -> u64 {
        self.budget.most()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Most held little.
        if self.bytes <= self.budget.kept() {
            return;
        }
        let Budget { used, left_behind, .. } = &*self.budget;
        used.fetch_sub(self.budget.above_floor(self.bytes), Ordering::Relaxed);
        left_behind.fetch_add(self.bytes.saturating_sub(self.budget.kept()), Ordering::Relaxed);
    }
}

/// `executor.memory` where nobody says: half of what there is.
pub fn usual_memory() -> u64 {
    memory_there_is() / 2
}

/// Bytes of memory that this process may use: the machine's, or what a control group above it allows, where that is less. A GiB
/// where nothing says.
pub fn memory_there_is() -> u64 {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let of_machine = read(Path::new("/proc/meminfo")).and_then(|text| mem_total(&text));
    let group = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let number = |path: &Path| read(path)?.trim().parse::<u64>().ok();
    let of_groups = group_files(&group).into_iter().filter_map(|file| number(Path::new(&file)));
    of_groups.chain(of_machine).min().unwrap_or(1 << 30)
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// The files that bound the memory of who has this `/proc/self/cgroup`: of its group and of all above it, in both versions of control
/// groups. In a container the path may be another's: its own group is then the root.
fn group_files(cgroup: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let above = Path::new(path).ancestors().map(|group| format!("{root}{}/{file}", group.to_string_lossy().trim_end_matches('/')));
        files.extend(above);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn held(budget: &Arc<Budget>) -> Held {
        Held::of(budget.clone())
    }

    #[test]
    fn what_is_in_common_is_had_once_and_given_back_and_a_floor_is_everybodys() {
        // 4 MiB for each of 8 slots, 32 in common.
        let budget = Arc::new(Budget::new(64 * MIB, 8));
        assert_eq!(budget.most(), 36 * MIB);
        let mut hog = held(&budget);
        assert!(hog.grow_to(20 * MIB) && hog.grow_to(36 * MIB) && !hog.grow_to(36 * MIB + 1));
        let mut others: Vec<_> = (0..7).map(|_| held(&budget)).collect();
        assert!(others.iter_mut().all(|other| other.grow_to(4 * MIB) && !other.grow_to(4 * MIB + 1)));
        drop(hog);
        assert!(others[0].grow_to(36 * MIB) && !others[1].grow_to(5 * MIB));
        drop(others);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_sum_of_all_is_never_above_the_part() {
        for (part, slots) in [(0, 1), (1, 3), (10 * MIB, 1_000), (1 << 40, 4), (16 * MIB, 1)] {
            let budget = Budget::new(part, slots);
            assert!(budget.floor * slots + budget.common <= part && budget.floor <= FLOOR_MAX, "{budget:?}");
            assert!(budget.kept() * slots <= part && budget.kept() <= KEPT_MAX, "{budget:?}");
        }
    }

    #[test]
    fn what_bounds_memory_is_looked_for_in_every_group_above() {
        let files = group_files("12:cpu,memory:/a/b\n3:cpu:/x\n0::/c\nnonsense\n");
        let (one, two) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        let expected = [
            format!("{one}/a/b/memory.limit_in_bytes"),
            format!("{one}/a/memory.limit_in_bytes"),
            format!("{one}/memory.limit_in_bytes"),
            format!("{two}/c/memory.max"),
            format!("{two}/memory.max"),
        ];
        assert_eq!(files, expected);
        assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:       24 kB\n"), Some(24 << 10));
        assert!(memory_there_is() > 0);
    }
}
