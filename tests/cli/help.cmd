gatec
gatec --help
gatec check --help
gatec fmt --help
gatec build --help
gatec run --help
gatec explain --help
gatec inspect --help
gatec bench --help
gatec calibrate --help
gatec --version
