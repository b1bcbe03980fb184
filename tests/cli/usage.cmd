# Wrong usage: exit 2, and what would be right.
gatec paint double.gate
gatec build
gatec build double.gate --emit=egg
gatec build double.gate --print-after=magic
gatec build double.gate --target-cpu=z80
gatec build double.gate --axis t
gatec build double.gate --axis t=-1
gatec build double.gate --axis t=99999999999999999999
gatec build two.gate --axis d=2 --axis d=3
gatec build double.gate --assume t=2,t=3
gatec build double.gate --json --emit=graph
gatec run two.gate --random
gatec run two.gate --entry up
gatec run double.gate --random --size t=2 --size t=3
gatec run double.gate --random --size t=2 -o y.txt
gatec run double.gate --random --threads 0
gatec run double.gate --random --target-cpu z80
gatec bench double.gate --seconds forever
gatec bench double.gate --seconds -1
gatec check double.gate --fuel 3
gatec build double.gate -o built.so
gatec run built.so --random --size t=2 --axis t=3
gatec bench built.so --size t=2 --verify
gatec run double.gate --random --size t=2 --trace -
gatec explain glu.gate --html page.html --json
gatec explain glu.gate --threads 2
gatec build double.gate --assume t=
gatec build double.gate --assume t=1,x
gatec build double.gate --assume t=1,1
gatec build double.gate --assume 1,2
gatec build double.gate --assume t=1,2 --assume t=3
gatec build double.gate --assume t=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17
gatec build double.gate --assume t=1,2,3,4,5,s=1,2,3,4
