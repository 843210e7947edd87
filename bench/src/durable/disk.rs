//! How long one sync of the disk takes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use wisp_lab::failure::Failure;
use wisp_report::statistics::median;

use crate::plan::SIZE_BYTES;

/// Syncs of one measurement.
const SYNCS: u64 = 200;

/// The time of one write of 1 KB with its fdatasync, in microseconds: the median of 200. The bytes replace others, so the disk has
/// nothing to do but for them; a file that grows would take longer.
///
/// # Errors
/// If the folder is not writable.
pub(super) fn sync_p50_us(folder: &Path) -> Result<f64, Failure> {
    times_us(folder)
        .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))
        .map(|times| median(&times).unwrap_or_default())
}

fn times_us(folder: &Path) -> io::Result<Vec<f64>> {
    let path = folder.join("sync");
    let file = File::create(&path)?;
    let block = [1; SIZE_BYTES];
    for number in 0..SYNCS {
        file.write_all_at(&block, number * SIZE_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for number in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&block, number * SIZE_BYTES as u64)?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(path)?;
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wisp_lab::paths::Scratch;

    #[test]
    fn a_sync_takes_time_and_leaves_nothing() {
        let scratch = Scratch::new().unwrap();
        let folder = scratch.file("");
        assert!(sync_p50_us(&folder).unwrap() > 0.0);
        assert_eq!(folder.read_dir().unwrap().count(), 0);
        assert!(sync_p50_us(&scratch.file("none")).is_err());
    }
}
