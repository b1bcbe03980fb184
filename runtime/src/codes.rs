//! The codes of what can go wrong when an artifact is opened, loaded or run. Messages end with theirs: `.. [R0312]`. A code never changes
//! its meaning and is never used twice; those of programs that are wrong, `E0203`, are the compiler's. What is to be said of one stands
//! in a file of `runtime/errors`.

/// What a code means.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub code: &'static str,
    pub title: &'static str,
    /// Markdown: what it means, and what to do.
    pub page: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal: $title:literal;)*) => {
        $(#[doc = $title] pub const $name: &str = $code;)*
        /// All codes, in order.
        pub const CODES: &[Entry] = &[$(Entry {
            code: $code,
            title: $title,
            page: include_str!(concat!("../errors/", $code, ".md")),
        }),*];
    };
}

codes! {
    NOT_AN_ARTIFACT = "R0101": "the file is no artifact";
    READ = "R0102": "a file cannot be read";
    DAMAGED = "R0103": "the artifact is damaged";
    VERSION = "R0104": "the artifact has another version";
    MACHINE = "R0105": "the artifact is for another machine";
    NO_TENSOR = "R0201": "the weights lack a tensor";
    TENSOR_SHAPE = "R0202": "a tensor of the weights has another shape";
    TENSOR_ELEM = "R0203": "a tensor of the weights has another element type";
    WEIGHT_FILE = "R0204": "the weight file is not well-formed";
    UNKNOWN_NAME = "R0301": "no such name";
    MISSING_INPUT = "R0302": "an input is missing";
    ELEM = "R0303": "the element type does not fit";
    SHAPE = "R0304": "the shape does not fit";
    CONFLICT = "R0305": "two sizes contradict each other";
    UNBOUND = "R0306": "a size is not known";
    OVER_BOUND = "R0307": "a size is larger than the model allows";
    SIZE = "R0308": "what an axis lacks";
    TWICE = "R0309": "something is given twice";
    NO_RESULT = "R0310": "an output has no value here";
    STATE_SIZE = "R0311": "a state has another size";
    INDEX = "R0312": "an index is out of range";
    ALIGN = "R0313": "an address is not aligned";
    OUT_OF_MEMORY = "R0401": "no memory";
    THREADS = "R0402": "threads cannot be started";
    DEVICE = "R0403": "the GPU cannot be used";
}
