//! Random numbers, for what should differ from node to node: which replica comes first, how long a pause is.
//!
//! Not for secrets. In tests a simulation draws them from its seed, so that a failure can be repeated.

/// Returns a random number; always the same on a machine that has no randomness.
pub(crate) fn number() -> u32 {
    #[cfg(test)]
    if let Some(number) = seeded::next() {
        return number;
    }
    getrandom::u32().unwrap_or_default()
}

/// Random numbers from a seed, on one thread.
#[cfg(test)]
pub(crate) mod seeded {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Draws this thread's numbers from `seed` from here on; `None` ends that.
    pub(crate) fn begin(seed: Option<u64>) {
        STATE.set(seed);
    }

    /// The next number: `SplitMix64`.
    pub(crate) fn next() -> Option<u32> {
        let state = STATE.get()?.wrapping_add(0x9E37_79B9_7F4A_7C15);
        STATE.set(Some(state));
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(((mixed ^ (mixed >> 31)) >> 32) as u32)
    }
}
