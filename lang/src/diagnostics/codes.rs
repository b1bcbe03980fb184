//! The list of error codes. A code never changes its meaning and is never used twice. What is to be said of one stands in a file of
//! `lang/errors`: what it means, a program with the mistake, and the same program without it.

/// A code: `E0203`.
pub type Code = &'static str;

/// What a code means.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub code: Code,
    pub title: &'static str,
    /// Markdown.
    pub page: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal: $title:literal;)*) => {
        $(#[doc = $title] pub const $name: Code = $code;)*
        /// All codes, in order.
        pub const CODES: &[Entry] = &[$(Entry {
            code: $code,
            title: $title,
            page: include_str!(concat!("../../errors/", $code, ".md")),
        }),*];
    };
}

/// The entry of a code.
pub fn find(code: &str) -> Option<&'static Entry> {
    CODES.iter().find(|e| e.code == code)
}

codes! {
    SYNTAX = "E0001": "the text is no Gate program";
    TOO_LARGE = "E0002": "too large";
    TOO_DEEP = "E0003": "nested too deeply";
    FILE = "E0004": "a file cannot be read";
    UNKNOWN_NAME = "E0101": "no such name";
    TWICE = "E0102": "a name stands twice";
    UNKNOWN_AXIS = "E0103": "no such axis";
    UNKNOWN_ELEM = "E0104": "no such element type";
    NO_MODEL = "E0105": "nothing to build";
    RECURSION = "E0106": "a block calls itself";
    AXIS_SIZE = "E0107": "an axis' size is wrong";
    FEATURE = "E0108": "not supported yet";
    TYPE = "E0201": "types do not fit";
    ELEMS = "E0202": "element types differ";
    CONTRACT = "E0203": "`@` contracts exactly one shared axis";
    AXES = "E0204": "axes do not fit";
    SIZES = "E0205": "sizes do not fit";
    BRACKETS = "E0206": "the brackets do not fit the value";
    NOT_A_TENSOR = "E0207": "a tensor is expected";
    ARGUMENTS = "E0208": "arguments do not fit";
    NOT_A_NUMBER = "E0209": "a number known when building is expected";
    FIELD = "E0210": "no such field";
    LOOP = "E0211": "the loop is not complete";
    ROUTE = "E0212": "the route is not complete";
    PARAM = "E0213": "the parameter is wrong";
    RESULT = "E0214": "the result is not what is declared";
    LABEL = "E0215": "two instances have one name";
    QUANTIZED = "E0216": "the quantised type is wrong";
    SHADOWED = "E0217": "an axis has the name of the loop's";
    CHOICE = "E0221": "the choice cannot be made when building";
    CHOOSE = "E0231": "the arms cannot be chosen so";
    PARAM_SET = "E0232": "the sets of parameters do not fit";
    UNUSED = "W0301": "never used";
}
