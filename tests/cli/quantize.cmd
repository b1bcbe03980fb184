gatec quantize quantized.gate -w floats.safetensors -o q.safetensors
gatec quantize quantized.gate -w floats.safetensors -o q.safetensors --json --axis d=21
gatec run quantized.gate -w q.safetensors --random --size t=2 --json
gatec run quantized.gate -w floats.safetensors --random --size t=2
gatec quantize quantized.gate -w q.safetensors -o r.safetensors
gatec quantize quantized.gate -w floats.safetensors -o q.npz
gatec quantize quantized.gate -w missing.safetensors -o r.safetensors
gatec quantize quantized.gate -w floats.safetensors -o r.safetensors --axis h=35
gatec quantize double.gate -w floats.safetensors -o r.safetensors
gatec quantize broken.gate -w floats.safetensors -o r.safetensors
gatec quantize quantized.gate -w quantized.gate -o r.safetensors
