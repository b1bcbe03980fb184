# What was found of kernels that a model no longer has is not used, and that is said; what is no such file is an error.
gatec build tuned.gate
gatec explain tuned.gate --json
gatec build double.gate --tuned tuned.tune.json --target-cpu=x86-64-v3
gatec build double.gate --tuned missing.json
gatec build double.gate --tuned double.gate
gatec build double.gate --tuned unknown.json
gatec build double.gate --tuned range.json
gatec build double.gate --tune-seconds 3
gatec build double.gate --tune --tune-seconds -3
gatec build double.gate --tune --emit=graph
gatec run double.gate --random --size t=2 --tuned missing.json
gatec build double.gate -o tuned.so
gatec run tuned.so --random --size t=2 --tuned tuned.tune.json
