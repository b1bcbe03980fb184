gatec check double.gate two.gate
gatec check broken.gate
gatec check double.gate broken.gate missing.gate
gatec check --error-format=json broken.gate
gatec check - < double.gate
gatec check - < broken.gate
gatec check --color=always broken.gate
NO_COLOR=1 gatec check --color=always broken.gate
gatec fmt --check double.gate
gatec fmt --check loose.gate
gatec fmt - < loose.gate
gatec fmt --check - < loose.gate
gatec fmt loose.gate
gatec fmt --check loose.gate
gatec fmt broken.gate
