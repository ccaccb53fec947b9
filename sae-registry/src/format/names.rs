//! Reading layers, widths and models from the names of repositories and folders.

use crate::Error;
use crate::format::At;

/// The whole number that follows the first `before` in a text: 20 in `layer_20/width_16k`.
pub(super) fn number_after(before: &str, text: &str) -> Option<u64> {
    text.match_indices(before).find_map(|(at, _)| {
        let rest = &text[at + before.len()..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// The parts of a text between what is neither letter nor digit.
pub(super) fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

/// The number of latents that `width_16k` means: the power of two that is 16 thousand in short.
pub(super) fn width(text: &str) -> Option<usize> {
    let short = number_after("width_", text)?;
    let digits = text.split("width_").nth(1)?.trim_start_matches(|c: char| c.is_ascii_digit());
    let unit = match digits.chars().next()? {
        'k' => 1_000,
        'm' => 1_000_000,
        _ => return None,
    };
    let about = short.checked_mul(unit)?;
    // 65k is 65536, 131k is 131072, 1m is 1048576.
    let power =
        (0..usize::BITS - 1).map(|bits| 1usize << bits).find(|power| *power as u64 >= about)?;
    let shortened = if unit == 1_000 { power as u64 / 1_000 } else { power as u64 / 1_000_000 };
    (shortened == short).then_some(power)
}

/// The layer that follows `before` in the path.
///
/// # Errors
/// None does.
pub(super) fn layer(at: &At<'_>, before: &str) -> Result<u64, Error> {
    number_after(before, at.path())
        .ok_or_else(|| unknown(at, "layer", &format!("`{before}` and a number")))
}

/// That a name does not say what it should.
pub(super) fn unknown(at: &At<'_>, what: &'static str, want: &str) -> Error {
    Error::UntoldByName { name: at.title(), what, want: want.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_powers_of_two_in_short() {
        for (text, latents) in [
            ("width_4k", 4096),
            ("layer_1/width_16k/average_l0_7", 16384),
            ("width_32k", 32768),
            ("width_65k", 65536),
            ("width_131k", 131_072),
            ("width_262k", 262_144),
            ("width_524k", 524_288),
            ("width_1m", 1_048_576),
        ] {
            assert_eq!(width(text), Some(latents), "{text}");
        }
        for text in ["width_17k", "width_16", "16k", "width_k", "width_99999999999999999999k"] {
            assert_eq!(width(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_follow_their_word() {
        assert_eq!(number_after("layer_", "resid_post_layer_12/trainer_0"), Some(12));
        assert_eq!(number_after("layer_", "layer_all/layer_3"), Some(3));
        assert_eq!(number_after("layer_", "layers.5"), None);
    }

    #[test]
    fn words_stand_between_marks() {
        assert_eq!(
            words("google/gemma-scope-2b-pt-res"),
            ["google", "gemma", "scope", "2b", "pt", "res"]
        );
    }
}
