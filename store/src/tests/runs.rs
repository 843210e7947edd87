//! Random lives of a store: changes, flushes, full disks, failed syncs, compaction, and an end at any operation of the files.
//! After each end the store holds the state of some flush, and none before the last one that was acknowledged.

use std::time::Duration;

use super::model::Model;
use crate::switches::off;
use crate::{Crash, FlushError, Live, Log, MemoryFiles, Random, Settings, Sync};

/// The number of seeds, unless this variable has another.
const SEEDS: u64 = 3_000;
const SEEDS_VARIABLE: &str = "WISP_STORE_SEEDS";
const LIVES: u64 = 4;
const KEYS: u64 = 24;

/// A run: the folder, and the states that it may be in.
struct Run {
    random: Random,
    files: MemoryFiles,
    settings: Settings,
    /// The state of the last acknowledged flush, and the states of the flushes after it.
    possible: Vec<Model>,
}

/// Whether a life has ended, and how.
enum Ended {
    Well,
    Stopped,
    SyncFailed,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let segment_bytes = [256, 700, 3_000][random.below(3) as usize];
        let sync = match random.below(6) {
            0 => Sync::Never,
            1 => Sync::Every(Duration::from_millis(5)),
            _ => Sync::Always,
        };
        let settings = Settings { segment_bytes, sync, ..Settings::default() };
        Self { random, files: MemoryFiles::new(), settings, possible: vec![Model::default()] }
    }

    fn all_lives(&mut self) -> Result<(), String> {
        for _ in 0..LIVES {
            if self.random.below(4) > 0 {
                let operations = 1 + self.random.below(60);
                self.files.stop_at(operations);
            }
            let ended = self.life()?;
            let is_power_cut = matches!(ended, Ended::SyncFailed) || self.random.coin();
            let crash = if is_power_cut { Crash::PowerCut } else { Crash::Killed };
            self.files = self.files.after(crash, &mut self.random);
            let (_, live) =
                Log::open(self.files.copy(), &self.settings).map_err(|error| format!("after {crash:?}: {error}"))?;
            self.matches(&live, crash)?;
        }
        Ok(())
    }

    /// Compares with the states that are possible, and goes on with the one that it is.
    fn matches(&mut self, live: &[Live], crash: Crash) -> Result<(), String> {
        let found = self.possible.iter().rposition(|model| model.reopened().objects() == live);
        let Some(found) = found else {
            return Err(format!("after {crash:?}: {live:?} is none of {:?}", self.possible));
        };
        self.possible = vec![self.possible.swap_remove(found)];
        Ok(())
    }

    fn life(&mut self) -> Result<Ended, String> {
        let opened = Log::open(self.files.clone(), &self.settings);
        let (log, live) = match opened {
            Ok(opened) => opened,
            Err(_) if self.files.is_stopped() => return Ok(Ended::Stopped),
            Err(error) => return Err(format!("a store that is whole: {error}")),
        };
        if self.possible.iter().all(|model| model.reopened().objects() != live) {
            return Err(format!("{live:?} is none of {:?}", self.possible));
        }
        let mut model = Model::of(&live);
        self.possible = vec![model.clone()];
        for _ in 0..self.random.below(120) {
            match self.random.below(20) {
                0..=8 => self.put(&log, &mut model),
                9..=13 => model.delete(&log, 1 + self.random.below(KEYS)),
                14 if self.random.below(12) == 0 => self.files.fail_syncs(1),
                14 => self.files.set_capacity(Some(self.files.total_bytes() + self.random.below(200))),
                15 => self.files.set_capacity(None),
                16 => self.files.advance(Duration::from_millis(self.random.below(10))),
                _ => {
                    if let Some(ended) = self.flush(&log, &model)? {
                        return Ok(ended);
                    }
                }
            }
        }
        if self.random.below(4) == 0 {
            self.files.set_capacity(None);
            self.files.fail_syncs(0);
            self.possible.push(model.clone());
            match log.compact() {
                Ok(()) => self.acknowledge(&model),
                Err(error) => return self.failed(&error),
            }
        }
        Ok(Ended::Well)
    }

    fn put(&mut self, log: &Log, model: &mut Model) {
        let random = &mut self.random;
        let key = 1 + random.below(KEYS);
        let refers_to = random.coin().then(|| 1 + random.below(KEYS));
        let object = Live {
            key,
            kind: random.below(256) as u8,
            refers_to,
            shared: random.below(3) == 0,
            body: super::body(random, 60).into(),
        };
        if model.may_put(key) {
            model.put(log, object);
        }
    }

    fn flush(&mut self, log: &Log, model: &Model) -> Result<Option<Ended>, String> {
        self.possible.push(model.clone());
        match log.flush() {
            Ok(synced) => {
                // A flush that has written a batch which had failed before leaves later changes for the next one.
                if synced >= log.position() {
                    self.acknowledge(model);
                } else if log.pending_bytes() == 0 {
                    return Err("nothing is pending, and not all is synchronised".to_owned());
                }
                Ok(None)
            }
            Err(FlushError::Write { .. }) if !self.files.is_stopped() => Ok(None),
            Err(error) => self.failed(&error).map(Some),
        }
    }

    /// With other settings than "always" a power cut may take all that this life has flushed.
    fn acknowledge(&mut self, model: &Model) {
        if self.settings.sync == Sync::Always {
            self.possible.clear();
        }
        self.possible.push(model.clone());
    }

    fn failed(&self, error: &FlushError) -> Result<Ended, String> {
        match error {
            _ if self.files.is_stopped() => Ok(Ended::Stopped),
            FlushError::Sync { .. } => Ok(Ended::SyncFailed),
            FlushError::Write { .. } => Err(format!("nothing is full: {error}")),
        }
    }
}

fn run(seed: u64) -> Result<(), String> {
    Run::new(seed).all_lives()
}

#[test]
fn after_every_crash_the_state_of_a_flush_is_there_and_none_that_was_acknowledged_is_lost() {
    let seeds = std::env::var(SEEDS_VARIABLE).map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    for seed in 0..seeds {
        if let Err(error) = run(seed) {
            panic!("seed {seed}: {error}");
        }
    }
}

/// The number of seeds that find a protection missing.
fn seeds_that_fail(seeds: u64, switch: &'static std::thread::LocalKey<std::cell::Cell<bool>>) -> u64 {
    switch.set(true);
    let failed = (0..seeds).filter(|seed| run(*seed).is_err()).count();
    switch.set(false);
    failed as u64
}

#[test]
fn the_runs_find_a_missing_sync() {
    assert!(seeds_that_fail(300, &off::SYNCS) > 30);
}

#[test]
fn the_runs_find_a_missing_checksum() {
    assert!(seeds_that_fail(300, &off::CHECKSUMS) > 10);
}

#[test]
fn the_runs_find_deletions_that_are_forgotten() {
    assert!(seeds_that_fail(1000, &off::DELETIONS_KEPT) > 0);
}

#[test]
fn the_runs_find_files_that_are_removed_too_early() {
    assert!(seeds_that_fail(3000, &off::DROPS_SYNCED) > 0);
}
