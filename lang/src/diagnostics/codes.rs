//! The list of error codes. A code never changes its meaning and is never used twice.

/// A code: `E0203`.
pub type Code = &'static str;

/// What a code means.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub code: Code,
    pub title: &'static str,
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal: $title:literal, $explanation:literal;)*) => {
        $(#[doc = $title] pub const $name: Code = $code;)*
        /// All codes, in order.
        pub const CODES: &[Entry] = &[$(Entry { code: $code, title: $title, explanation: $explanation }),*];
    };
}

/// The entry of a code.
pub fn find(code: &str) -> Option<&'static Entry> {
    CODES.iter().find(|e| e.code == code)
}

codes! {
    SYNTAX = "E0001": "the text is no Gate program",
        "The parser met something that cannot stand there. The message lists what could. The `(` of a call and the `[` of brackets follow their name directly, without a blank.";
    TOO_LARGE = "E0002": "too large", "Source files, how many of them a model uses, and the operations that it is made of are bounded, so that no input takes memory without end.";
    TOO_DEEP = "E0003": "nested too deeply", "Brackets, prefix operators and operators of one statement are bounded. Name parts with `let`.";
    FILE = "E0004": "a file cannot be read", "The file is missing, unreadable, or no UTF-8 text.";
    UNKNOWN_NAME = "E0101": "no such name", "A name is used that nothing in scope has: a value, parameter, block, function or constant.";
    TWICE = "E0102": "a name stands twice", "Two declarations of one scope have the same name.";
    UNKNOWN_AXIS = "E0103": "no such axis", "An axis is named that the value does not have, or that is declared nowhere.";
    UNKNOWN_ELEM = "E0104": "no such element type", "Element types are f32 f16 bf16 f64 i32 i64 i8 u8 bool; parameters may also be q8 or q4.";
    NO_MODEL = "E0105": "nothing to build", "A file that is built has a `model` or a `network`.";
    RECURSION = "E0106": "a block calls itself", "Blocks are instantiated where they are called; one that calls itself would never end.";
    AXIS_SIZE = "E0107": "an axis' size is wrong", "Sizes are whole, not negative, and small enough that products of them can be counted.";
    FEATURE = "E0108": "not supported yet", "This construct is part of the language, but this version does not build it.";
    TYPE = "E0201": "types do not fit", "A value has another type than its place asks for.";
    ELEMS = "E0202": "element types differ", "Operands of one operation have one element type; cast one of them: `f32(x)`. Numbers written out adapt.";
    CONTRACT = "E0203": "`@` contracts exactly one shared axis", "`a @ b` sums over the one axis that both have. If they share several, name those that are summed: `a @[k] b`; all other shared axes are batch axes.";
    AXES = "E0204": "axes do not fit", "A value has axes that its place does not ask for, or lacks some that it does.";
    SIZES = "E0205": "sizes do not fit", "Axes that must have one size have two.";
    BRACKETS = "E0206": "the brackets do not fit the value", "Brackets rename (`[a -> b]`), split (`[d -> h * k]`), merge (`[h * k -> d]`), pick (`[t = 0]`), slice (`[t = 1..5]`), gather (`[t = index]`) and shift (`[t = t - 1 else 0.0]`).";
    NOT_A_TENSOR = "E0207": "a tensor is expected", "The value is a record, a plan or nothing, where a tensor must stand.";
    ARGUMENTS = "E0208": "arguments do not fit", "A function or block is called with too few, too many or unknown arguments.";
    NOT_A_NUMBER = "E0209": "a number known when building is expected", "Sizes, counts, steps and the like must be known when the model is built.";
    FIELD = "E0210": "no such field", "A record has the fields that its block or `yield` lists.";
    LOOP = "E0211": "the loop is not complete", "A loop's `next` gives one value for each carry, of the carry's type.";
    ROUTE = "E0212": "the route is not complete", "A route has a policy over the expert axis, a body and a `mix`.";
    PARAM = "E0213": "the parameter is wrong", "A parameter's axes have known sizes, and `from` lists each of them once, in the order of the file.";
    RESULT = "E0214": "the result is not what is declared", "A block's last expression has the type after `->`.";
    LABEL = "E0215": "two instances have one name", "A block called twice in one place needs labels: `first: mlp(x)`, `second: mlp(y)`.";
    QUANTIZED = "E0216": "the quantised type is wrong", "Parameters may be quantised: `q8[d: 32, h]` and `q4[d: 32, h]` have a scale for each 32 neighbours along `d`. One axis is in blocks; those of `q4` are of an even length.";
    UNUSED = "W0301": "never used", "A parameter or `let` that nothing reads.";
}
