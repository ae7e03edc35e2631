//! Makes trials of the cases that are written for any backend.

use libtest_mimic::{Failed, Trial};

/// A trial that runs a future to its end, or is ignored where no server is given.
pub fn trial<F>(name: String, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::from)?;
        runtime.block_on(test());
        Ok(())
    };
    let missing = crate::server::address().is_none();
    Trial::test(name, run).with_kind(if missing { crate::server::NEEDED } else { "" }).with_ignored_flag(missing)
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
