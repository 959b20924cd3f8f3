//! Formulas of constants: enough to see that `=1+1` was taken for one. No references, no functions.

/// What a cell shows whose formula the emulator cannot work out.
pub(crate) const UNKNOWN: &str = "#ERROR!";

/// The value of `=…` if it is made of numbers, `+ - * /` and brackets.
pub(crate) fn evaluate(text: &str) -> Option<f64> {
    let mut rest = text.strip_prefix('=')?.trim();
    let value = sum(&mut rest)?;
    (rest.is_empty() && value.is_finite()).then_some(value)
}

fn sum(rest: &mut &str) -> Option<f64> {
    let mut value = product(rest)?;
    loop {
        if let Some(more) = rest.strip_prefix('+') {
            *rest = more.trim_start();
            value += product(rest)?;
        } else if let Some(more) = rest.strip_prefix('-') {
            *rest = more.trim_start();
            value -= product(rest)?;
        } else {
            return Some(value);
        }
    }
}

fn product(rest: &mut &str) -> Option<f64> {
    let mut value = term(rest)?;
    loop {
        if let Some(more) = rest.strip_prefix('*') {
            *rest = more.trim_start();
            value *= term(rest)?;
        } else if let Some(more) = rest.strip_prefix('/') {
            *rest = more.trim_start();
            value /= term(rest)?;
        } else {
            return Some(value);
        }
    }
}

fn term(rest: &mut &str) -> Option<f64> {
    let mut sign = 1.0;
    while let Some(more) = rest.strip_prefix(['-', '+']) {
        if rest.starts_with('-') {
            sign = -sign;
        }
        *rest = more.trim_start();
    }
    if let Some(more) = rest.strip_prefix('(') {
        *rest = more.trim_start();
        let value = sum(rest)?;
        *rest = rest.strip_prefix(')')?.trim_start();
        return Some(sign * value);
    }
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (digits, more) = rest.split_at(end);
    *rest = more.trim_start();
    digits.parse::<f64>().ok().map(|value| sign * value)
}

#[cfg(test)]
mod tests {
    use super::evaluate;

    #[test]
    fn constants_are_worked_out_and_nothing_else() {
        assert_eq!(evaluate("=1+1"), Some(2.0));
        assert_eq!(evaluate("= 2 * (3 - -1) / 4"), Some(2.0));
        for unknown in ["1+1", "=A1", "=SUM(1)", "=1/0", "=", "=1 1"] {
            assert_eq!(evaluate(unknown), None, "{unknown}");
        }
    }
}
