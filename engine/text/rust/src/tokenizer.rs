//! One loaded tokenizer.json.

use std::str::FromStr;

use tokenizers::Tokenizer;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub struct TextTokenizer {
    inner: Tokenizer,
}

impl TextTokenizer {
    pub fn new(json: &str) -> Fallible<Self> {
        let mut inner = Tokenizer::from_str(json)?;
        // As transformers' __call__: whatever the file says, nothing is cut or padded unless the caller asks.
        inner.with_truncation(None)?;
        inner.with_padding(None);
        Ok(TextTokenizer { inner })
    }

    pub fn vocab_size(&self) -> usize {
        // The largest id decides, not the number of names: some vocabularies have holes.
        let highest = self.inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        highest.max(self.inner.get_vocab_size(true))
    }

    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    pub fn is_special(&self, token: &str) -> bool {
        self.inner.get_added_vocabulary().is_special_token(token)
    }

    /// Ids, followed by (begin, end) byte pairs when offsets are wanted; and the number of ids.
    pub fn encode(&self, text: &str, add_special_tokens: bool, with_offsets: bool) -> Fallible<(Vec<i32>, usize)> {
        let encoding = if with_offsets {
            self.inner.encode(text, add_special_tokens)?
        } else {
            self.inner.encode_fast(text, add_special_tokens)?
        };
        let count = encoding.get_ids().len();
        let mut values: Vec<i32> = encoding.get_ids().iter().map(|id| *id as i32).collect();
        if with_offsets {
            values.reserve_exact(2 * count);
            for (begin, end) in encoding.get_offsets() {
                values.push(*begin as i32);
                values.push(*end as i32);
            }
        }
        Ok((values, count))
    }

    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Fallible<String> {
        self.inner.decode(ids, skip_special_tokens)
    }
}
