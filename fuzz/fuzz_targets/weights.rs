#![cfg_attr(feature = "libfuzzer", no_main)]

gatec_fuzz::target!(|bytes: &[u8]| gatec_tests::readers::weights(bytes, None));
