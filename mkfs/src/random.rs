//! What is different each time: uuid, key and the time.

use anyhow::{Context, Result};
use bento_api::Time;
use rustix::rand::{GetRandomFlags, getrandom};
use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

fn bytes() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += getrandom(rest, GetRandomFlags::empty()).context("no random numbers")?;
    }
    Ok(bytes)
}

/// A random uuid (version 4).
pub(crate) fn uuid() -> Result<[u8; 16]> {
    Ok(uuid::Builder::from_random_bytes(bytes()?)
        .into_uuid()
        .into_bytes())
}

/// A key for the directory hash.
pub(crate) fn key() -> Result<[u64; 2]> {
    let (high, low) = uuid::Uuid::from_bytes(bytes()?).as_u64_pair();
    Ok([high, low])
}

/// The present, or what `SOURCE_DATE_EPOCH` says, for images that are the same each time.
pub(crate) fn now() -> Result<Time> {
    if let Some(epoch) = env::var_os("SOURCE_DATE_EPOCH") {
        let seconds = epoch
            .to_str()
            .and_then(|text| text.parse().ok())
            .context("SOURCE_DATE_EPOCH is not a number of seconds")?;
        return Ok(Time {
            seconds,
            nanoseconds: 0,
        });
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970: set it")?;
    Ok(Time {
        seconds: since.as_secs() as i64,
        nanoseconds: since.subsec_nanos(),
    })
}
