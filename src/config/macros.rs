//! The three macros that declare configuration: a struct, a choice of strings, a family of parts.

/// Declares a table of the configuration: the struct, its defaults, how it is read and listed.
///
/// Each field is `name: Type = default, check, check...;`. The checks are functions of
/// [`config::check`](crate::config::check), in scope here without an import. The doc comments are
/// what `run parts` and `run explain` show.
///
/// ```
/// arcrun::config_struct! {
///     /// Additive angular margin softmax.
///     pub struct ArcFace {
///         /// Scale `s` of the cosine logits.
///         pub scale: f64 = 64.0, positive();
///     }
/// }
/// assert_eq!(ArcFace::default().scale, 64.0);
/// ```
#[macro_export]
macro_rules! config_struct {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $field_vis:vis $field:ident: $type:ty = $default:expr $(, $check:expr)*;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize)]
        $vis struct $name {
            $($(#[doc = $field_doc])* $field_vis $field: $type,)*
        }

        #[allow(clippy::derivable_impls)]
        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::config::Table for $name {
            #[allow(unused_imports, unused_variables)]
            fn table() -> $crate::config::TableInfo {
                use $crate::config::check::*;
                let default = Self::default();
                $crate::config::TableInfo {
                    doc: $crate::config::join_doc(&[$($doc),*]),
                    keys: vec![$(
                        $crate::config::Key {
                            name: $crate::config::key_name(stringify!($field)),
                            doc: $crate::config::join_doc(&[$($field_doc),*]),
                            shape: <$type as $crate::config::Field>::shape(),
                            default: $crate::config::default_value(&default.$field),
                            rules: {
                                let checks: Vec<Check<$type>> = vec![$($check),*];
                                checks.into_iter().map(|check| check.rule).collect()
                            },
                        },
                    )*],
                }
            }
        }

        impl $crate::config::Field for $name {
            fn shape() -> $crate::config::Shape {
                $crate::config::Shape::Table(<Self as $crate::config::Table>::table)
            }

            #[allow(unused_imports, unused_variables)]
            fn read(
                value: Option<&$crate::config::Value>,
                default: Option<Self>,
                at: &$crate::config::Reader<'_>,
            ) -> Option<Self> {
                use $crate::config::check::*;
                let default = default.unwrap_or_default();
                let fields = at.table(value, <Self as $crate::config::Table>::table)?;
                $(
                    let $field = fields.read::<$type>(
                        $crate::config::key_name(stringify!($field)),
                        default.$field,
                        vec![$($check),*],
                    );
                )*
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}

/// Declares a setting that is one of a few strings: `Variant = "spelling"`.
///
/// Gives `as_str()`, `Display` and `ALL`.
#[macro_export]
macro_rules! config_choice {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident {
            $($(#[doc = $variant_doc:literal])* $variant:ident = $spelling:literal),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ::serde::Serialize)]
        $vis enum $name {
            $($(#[doc = $variant_doc])* #[serde(rename = $spelling)] $variant,)*
        }

        impl $name {
            /// Every choice, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The spelling in the configuration.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $spelling,)*
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::Field for $name {
            fn shape() -> $crate::config::Shape {
                $crate::config::Shape::Choice(vec![
                    $(($spelling, $crate::config::join_doc(&[$($variant_doc),*])),)*
                ])
            }

            fn read(
                value: Option<&$crate::config::Value>,
                default: Option<Self>,
                at: &$crate::config::Reader<'_>,
            ) -> Option<Self> {
                at.choice(value, default, Self::ALL, Self::as_str)
            }
        }
    };
}

/// Declares a family of parts: a table whose `kind` says which struct the other keys belong to.
///
/// The name in parentheses is the family's table in the experiment file. The first kind is the
/// `Default`. Gives `kind()`.
#[macro_export]
macro_rules! config_family {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident($family:literal) {
            $($(#[doc = $variant_doc:literal])* $variant:ident($type:ty) = $kind:literal),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize)]
        #[serde(tag = "kind")]
        #[allow(clippy::large_enum_variant)]
        $vis enum $name {
            $($(#[doc = $variant_doc])* #[serde(rename = $kind)] $variant($type),)*
        }

        impl $name {
            /// The `kind` in the configuration.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                let kinds: &[fn() -> Self] = &[$(|| Self::$variant(Default::default())),*];
                kinds[0]()
            }
        }

        impl $crate::config::Family for $name {
            fn family() -> $crate::config::FamilyInfo {
                $crate::config::FamilyInfo {
                    name: $family,
                    doc: $crate::config::join_doc(&[$($doc),*]),
                    kinds: vec![$(
                        $crate::config::Kind {
                            name: $kind,
                            table: <$type as $crate::config::Table>::table,
                        },
                    )*],
                }
            }
        }

        impl $crate::config::Field for $name {
            fn shape() -> $crate::config::Shape {
                $crate::config::Shape::Family(<Self as $crate::config::Family>::family)
            }

            fn read(
                value: Option<&$crate::config::Value>,
                default: Option<Self>,
                at: &$crate::config::Reader<'_>,
            ) -> Option<Self> {
                let stated = default.as_ref().map(Self::kind);
                let kind = at.kind(value, stated, <Self as $crate::config::Family>::family)?;
                let at = at.of_kind(kind);
                match kind {
                    $($kind => {
                        let default = match default {
                            Some(Self::$variant(default)) => Some(default),
                            _ => None,
                        };
                        <$type as $crate::config::Field>::read(value, default, &at)
                            .map(Self::$variant)
                    })*
                    _ => None,
                }
            }
        }
    };
}
