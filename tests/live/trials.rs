//! Makes trials of the cases that are written for any backend.

use libtest_mimic::{Failed, Trial};

/// Futures of whole operations are large where they are not optimised.
pub const STACK: usize = 16 << 20;

/// A trial that runs a future to its end, or is ignored where no server is given.
pub fn trial<F>(name: String, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::from)?;
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || runtime.block_on(test()));
        if let Err(panic) = thread.map_err(Failed::from)?.join() {
            std::panic::resume_unwind(panic);
        }
        Ok(())
    };
    let missing = crate::server::address().is_none();
    Trial::test(name, run).with_kind(if missing { crate::server::NEEDED } else { "" }).with_ignored_flag(missing)
}

/// A function that lists a trial for each of the functions.
macro_rules! trials {
    ($file:ident { $($case:ident,)* }) => {
        pub fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$($crate::trials::trial(concat!(stringify!($file), "::", stringify!($case)).to_owned(), $case),)*]
        }
    };
}

/// A function that lists a trial for each case of a suite, over an environment.
macro_rules! cases {
    ($suite:ident, $environment:ty: $($file:ident { $($case:ident,)* })*) => {
        pub fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$($(
                $crate::trials::trial(
                    concat!(stringify!($suite), "::", stringify!($file), "::", stringify!($case)).to_owned(),
                    || $crate::$suite::$file::$case::<$environment>(),
                ),
            )*)*]
        }
    };
}
