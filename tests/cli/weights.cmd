gatec weights glu.gate
gatec weights glu.gate --random w.safetensors
gatec weights glu.gate --check w.safetensors
gatec weights glu.gate --check floats.safetensors
gatec weights glu.gate --check floats.safetensors --json
gatec weights glu.gate --check w.safetensors --random v.safetensors
gatec weights glu.gate --check glu.gate
gatec weights broken.gate
gatec weights normed.gate
gatec weights normed.gate --check floats.safetensors
