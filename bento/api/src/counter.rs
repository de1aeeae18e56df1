//! What a mounted file system shows of itself to whoever watches it.

use alloc::string::String;
use core::fmt;

/// A value with a name, found out when it is asked for.
pub struct Counter<F> {
    /// In `snake_case`, with the unit if the value has one: `log_bytes`.
    pub name: &'static str,
    read: Read<F>,
}

enum Read<F> {
    Number(fn(&F) -> u64),
    Text(fn(&F) -> String),
}

impl<F> Counter<F> {
    /// A number.
    pub const fn number(name: &'static str, read: fn(&F) -> u64) -> Counter<F> {
        Counter {
            name,
            read: Read::Number(read),
        }
    }

    /// One line of text, empty if there is nothing to say.
    pub const fn text(name: &'static str, read: fn(&F) -> String) -> Counter<F> {
        Counter {
            name,
            read: Read::Text(read),
        }
    }

    /// Writes the value as it is now.
    pub fn show(&self, fs: &F, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.read {
            Read::Number(read) => write!(out, "{}", read(fs)),
            Read::Text(read) => out.write_str(&read(fs)),
        }
    }
}
