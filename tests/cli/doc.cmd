gatec doc two.gate
gatec doc two.gate --html -o two.html
gatec doc glu.gate --html
gatec doc broken.gate
gatec doc std/glu.gate
gatec doc std/none.gate
gatec doc normed.gate
gatec doc adapted.gate
