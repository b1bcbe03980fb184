#![cfg_attr(feature = "libfuzzer", no_main)]

gatec_fuzz::target!(gatec_tests::readers::graph);
