//! Asking the user.

use std::io::{self, Write};

/// Whether the user wants to go on. No answer is no.
pub(crate) fn proceed(reason: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    write!(out, "{reason}\nProceed anyway? (y,N) ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
