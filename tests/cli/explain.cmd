gatec explain glu.gate --assume t=8
gatec explain glu.gate --assume t=8 --worth
gatec explain glu.gate --json
gatec explain glu.gate --axis d=8 --axis d=16
gatec build glu.gate --print-after=rewrite --emit=graph-opt=out.gir
gatec build glu.gate --fuel 0 --emit=graph-opt
gatec explain pairs.gate
gatec explain pairs.gate --assume t=4,9000
gatec explain pairs.gate --assume t=8
