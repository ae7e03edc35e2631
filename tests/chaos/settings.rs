//! How much is done, from environment variables.

/// What a run of the tests does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The first seed; the others count up from it.
    pub seed: u64,
    /// How many seeds the steps of clients are drawn from.
    pub seeds: u64,
    /// Operations for each of them.
    pub operations: usize,
    /// Clients at a time.
    pub clients: usize,
    /// Operations of the processes that change maps, together.
    pub in_processes: usize,
}

impl Settings {
    pub fn from_environment() -> Self {
        Self {
            seed: number("SHARDLET_CHAOS_SEED", 1),
            seeds: number("SHARDLET_CHAOS_SEEDS", 8),
            operations: count("SHARDLET_CHAOS_OPERATIONS", 2_000),
            clients: count("SHARDLET_CHAOS_CLIENTS", 4).max(1),
            in_processes: count("SHARDLET_CHAOS_IN_PROCESSES", 8_000),
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|error| panic!("{name}={value:?}: {error}")),
        Err(_) => default,
    }
}

fn count(name: &str, default: u32) -> usize {
    usize::try_from(number(name, default.into())).unwrap()
}
