gatec run double.gate --random --size t=3
gatec run double.gate --random --size t=3 --json
gatec run double.gate --random --size t=0
gatec run double.gate --random --size nothing=3
gatec run double.gate --random --size t=3 -o x.npy
gatec run double.gate -i x=x.npy
gatec run double.gate -i x=- < x.npy
gatec run double.gate -i x.npy
gatec run double.gate -i z=x.npy
gatec run double.gate -i x=x.npy --size t=4
gatec run double.gate
gatec run two.gate --entry add --random -o y.npz
gatec run two.gate --entry add --random -o y.npy
gatec run double.gate -i x=y.npz
gatec run double.gate -i x=missing.npy
gatec run two.gate --entry none --random
gatec run two.gate --entry up --size n=1 --random -w x.npy
gatec run double.gate --random --size t=9223372036854775807
gatec run double.gate --random --size t=3 --assume nothing=3
gatec run routed.gate --random --size t=64 --stats
gatec run leaves.gate --random --size t=64 --stats
gatec run double.gate --random --size t=3 --stats
gatec run normed.gate --random --size t=2
gatec run adapted.gate --entry follow --random --size t=2 --save-states one.safetensors
gatec run adapted.gate --entry centred --random --size t=2 --states one.safetensors --save-states two.npz -o y.npz
gatec run adapted.gate --entry centred --random --size t=2 --states two.npz --json
gatec run adapted.gate --entry centred --random --size t=2 --states y.npz
gatec run adapted.gate --entry centred --random --size t=2 --save-states states.txt
gatec run double.gate --random --size t=3 --states one.safetensors
