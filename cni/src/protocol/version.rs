//! Versions of the CNI.

use serde::Serialize;

/// A version that is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

/// A text that is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid version {0:?}: it has to be up to three numbers with dots between them")]
pub(super) struct VersionError(String);

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 7] =
        [Self::V0_1_0, Self::V0_2_0, Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The latest.
    pub const LATEST: Self = Self::V1_1_0;

    /// As configurations and results have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// A version that is supported; none is the first one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = if text.is_empty() { Self::V0_1_0.as_str() } else { text };
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    pub(super) fn numbers(self) -> [u64; 3] {
        numbers(self.as_str()).unwrap_or_default()
    }
}

/// Major, minor and micro number; those that are missing are 0. No text is 0.1.0.
pub(super) fn numbers(text: &str) -> Result<[u64; 3], VersionError> {
    let mut numbers = [0; 3];
    if text.is_empty() {
        return Ok(Version::V0_1_0.numbers());
    }
    let parts: Vec<_> = text.split('.').collect();
    let fault = || VersionError(text.to_owned());
    if parts.len() > numbers.len() {
        return Err(fault());
    }
    for (number, part) in numbers.iter_mut().zip(parts) {
        *number = part.parse().map_err(|_| fault())?;
    }
    Ok(numbers)
}

/// What VERSION prints.
pub(super) fn supported() -> String {
    #[derive(Serialize)]
    struct Printed {
        #[serde(rename = "cniVersion")]
        cni_version: &'static str,
        #[serde(rename = "supportedVersions")]
        supported_versions: [&'static str; Version::ALL.len()],
    }
    let printed = Printed {
        cni_version: Version::LATEST.as_str(),
        supported_versions: Version::ALL.map(Version::as_str),
    };
    super::object::compact(&printed)
}
