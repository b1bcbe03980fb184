gatec build double.gate
gatec inspect double.so
gatec build double.gate -o other.so --target-cpu=x86-64 --no-ptx
gatec inspect other.so --size t=100
gatec inspect other.so --size n=100
gatec inspect double.gate
gatec build double.gate --emit=ast
gatec build double.gate --emit=graph
gatec build double.gate --emit=egraph
gatec explain double.gate --worth
gatec build double.gate --emit=graph-opt=g.gir,kernel=k.kir
gatec build broken.gate --error-format=json
gatec build double.gate -o no/such/folder.so
gatec build missing.gate
gatec build two.gate --axis nothing=3
gatec build two.gate --assume nothing=3
