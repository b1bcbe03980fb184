# Machines by name, files that are none.
gatec calibrate --list
gatec explain glu.gate --assume t=8 --machine avx2
gatec explain glu.gate --machine nowhere.machine
gatec explain glu.gate --machine glu.gate
gatec explain glu.gate --machine damaged.machine
gatec explain glu.gate --machine newer.machine
gatec build double.gate -o built.so
gatec run built.so --random --size t=2 --machine zen5
gatec calibrate --paint
