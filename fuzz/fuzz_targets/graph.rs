#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gatec_tests::readers::graph(bytes));
