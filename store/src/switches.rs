//! The protections that tests take out, to see that the model finds each one missing. Outside tests they are constants.

#[cfg(test)]
pub(crate) mod off {
    use std::cell::Cell;

    thread_local! {
        /// Checksums of groups are not compared.
        pub(crate) static CHECKSUMS: Cell<bool> = const { Cell::new(false) };
        /// A deletion that an older segment still needs goes with its own segment.
        pub(crate) static DELETIONS_KEPT: Cell<bool> = const { Cell::new(false) };
        /// Groups are written without a sync, and taken for synchronised.
        pub(crate) static SYNCS: Cell<bool> = const { Cell::new(false) };
        /// The files of dropped segments are removed before the drop is synchronised.
        pub(crate) static DROPS_SYNCED: Cell<bool> = const { Cell::new(false) };
    }
}

macro_rules! switch {
    ($(#[$doc:meta])* $name:ident, $off:ident) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name() -> bool {
            #[cfg(test)]
            return !off::$off.get();
            #[cfg(not(test))]
            true
        }
    };
}

switch!(
    /// Whether the checksum of a group is compared.
    checks_groups,
    CHECKSUMS
);
switch!(
    /// Whether deletions that an older segment needs are kept.
    keeps_deletions,
    DELETIONS_KEPT
);
switch!(
    /// Whether a commit synchronises.
    syncs_groups,
    SYNCS
);
switch!(
    /// Whether a segment's file is only removed once its drop is synchronised.
    syncs_drops,
    DROPS_SYNCED
);
