gatec explain-error E0203
gatec explain-error w0301
gatec explain-error R0312
gatec explain-error E9999
gatec explain-error
