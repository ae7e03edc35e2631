//! Makes tests of the cases that are written for any backend.

/// A test for each case of a suite, over an environment.
macro_rules! cases {
    ($suite:ident, $environment:ty: $($file:ident { $($case:ident,)* })*) => {
        $(mod $file {
            $(#[tokio::test]
            async fn $case() {
                crate::$suite::$file::$case::<$environment>().await;
            })*
        })*
    };
}
