//! Finding cases and flags by name, however many there are of both.

use std::collections::HashMap;

use super::WitType;

/// Up to so many names are looked through; of more, an index is made.
const FEW: usize = 16;

/// Indices of long lists of names, made when they are first needed. Without them, a list of values of an enum with
/// thousands of cases would cost as many comparisons for each value.
#[derive(Default)]
pub struct Names<'a> {
    /// By the address of the list in its type.
    indices: HashMap<*const (), HashMap<&'a str, usize>>,
}

impl<'a> Names<'a> {
    /// Where `name` stands among the cases or flags of an enum or flags type.
    pub fn find(&mut self, names: &'a [String], name: &str) -> Option<usize> {
        self.find_in(names, String::as_str, name)
    }

    /// Where `name` stands among a variant's cases.
    pub fn find_case(&mut self, cases: &'a [(String, Option<WitType>)], name: &str) -> Option<usize> {
        self.find_in(cases, |(name, _)| name, name)
    }

    fn find_in<T>(&mut self, items: &'a [T], name_of: fn(&'a T) -> &'a str, name: &str) -> Option<usize> {
        if items.len() <= FEW {
            return items.iter().position(|item| name_of(item) == name);
        }
        let index = || items.iter().enumerate().map(|(at, item)| (name_of(item), at)).collect();
        self.indices.entry(items.as_ptr().cast()).or_insert_with(index).get(name).copied()
    }
}
