//! The `bit` library: operations on 32 bits. Pure; the prelude has looked at the arguments.

use mlua::{Lua, Table, Variadic};

type Operation = fn(&[f64]) -> u32;

/// Name, how many arguments are needed, and what it does with them.
const OPERATIONS: [(&str, u32, Operation); 11] = [
    ("tobit", 1, |args| bits(args, 0)),
    ("bnot", 1, |args| !bits(args, 0)),
    ("bswap", 1, |args| bits(args, 0).swap_bytes()),
    ("band", 1, |args| fold(args, |left, right| left & right)),
    ("bor", 1, |args| fold(args, |left, right| left | right)),
    ("bxor", 1, |args| fold(args, |left, right| left ^ right)),
    ("lshift", 2, |args| bits(args, 0) << (bits(args, 1) & 31)),
    ("rshift", 2, |args| bits(args, 0) >> (bits(args, 1) & 31)),
    ("arshift", 2, |args| (bits(args, 0).cast_signed() >> (bits(args, 1) & 31)).cast_unsigned()),
    ("rol", 2, |args| bits(args, 0).rotate_left(bits(args, 1) & 31)),
    ("ror", 2, |args| bits(args, 0).rotate_right(bits(args, 1) & 31)),
];

/// The functions by name, and how many arguments each needs.
pub(super) fn library(lua: &Lua) -> mlua::Result<(Table, Table)> {
    let (functions, operands) = (lua.create_table()?, lua.create_table()?);
    for (name, least, operation) in OPERATIONS {
        operands.raw_set(name, least)?;
        let function =
            move |_: &Lua, args: Variadic<f64>| Ok(f64::from(operation(&args).cast_signed()));
        functions.raw_set(name, lua.create_function(function)?)?;
    }
    operands.raw_set("tohex", 1)?;
    functions.raw_set("tohex", lua.create_function(|_, args: Variadic<f64>| Ok(tohex(&args)))?)?;
    Ok((functions, operands))
}

/// The low 32 bits of a number that is rounded to an integer.
fn bits(args: &[f64], at: usize) -> u32 {
    // 2^52 + 2^51: behind it, the sum's last bits are those of the integer.
    let sum = args.get(at).copied().unwrap_or(0.0) + 6_755_399_441_055_744.0;
    (sum.to_bits() & 0xFFFF_FFFF) as u32
}

fn fold(args: &[f64], operation: fn(u32, u32) -> u32) -> u32 {
    (1..args.len()).fold(bits(args, 0), |left, at| operation(left, bits(args, at)))
}

fn tohex(args: &[f64]) -> String {
    let digits = if args.len() > 1 { bits(args, 1).cast_signed() } else { 8 };
    let all = format!("{:08x}", bits(args, 0));
    let length = digits.unsigned_abs().min(8) as usize;
    let text = &all[8 - length..];
    if digits < 0 { text.to_ascii_uppercase() } else { text.to_owned() }
}
