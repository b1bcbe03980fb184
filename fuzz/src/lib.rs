//! What a fuzz target is.

#[cfg(feature = "libfuzzer")]
pub use libfuzzer_sys;

/// The body of a program that hands bytes to a reader: those that libFuzzer makes up, or else those of the files it is given.
#[macro_export]
macro_rules! target {
    ($reader:expr) => {
        #[cfg(feature = "libfuzzer")]
        use gatec_fuzz::libfuzzer_sys;
        #[cfg(feature = "libfuzzer")]
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $reader(bytes));

        #[cfg(not(feature = "libfuzzer"))]
        fn main() -> std::io::Result<()> {
            for path in std::env::args_os().skip(1) {
                $reader(&std::fs::read(path)?);
            }
            Ok(())
        }
    };
}
