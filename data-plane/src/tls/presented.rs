//! The certificates that listeners present, and their replacement while the program runs: new files are taken when they
//! have stopped changing and can be used; until then, and if they never can, the ones before stay.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mailswitch_config::CertificateName;
use mailswitch_config::table::tls::Certificate;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificates::{CertificateError, Loaded, Validity, self_signed};
use super::choice::Choice;
use super::files::{Complaint, Watched};

/// Every certificate of `[tls.certificate.*]`. Resolves names with the choice in force.
#[derive(Debug)]
pub(super) struct Presented {
    choice: ArcSwap<Choice>,
    entries: Mutex<Vec<Entry>>,
    self_signed: Arc<CertifiedKey>,
    provider: CryptoProvider,
}

#[derive(Debug)]
struct Entry {
    table: Certificate,
    loaded: Loaded,
    files: Watched,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Replaced {
    /// New connections are shown what the files hold now.
    Taken {
        /// The certificate's key in the configuration.
        name: CertificateName,
        /// From when until when it is valid.
        validity: Validity,
    },
    /// The files cannot be used; what was presented stays. Said once for each reason.
    Refused {
        /// The certificate's key in the configuration.
        name: CertificateName,
        /// Why.
        error: CertificateError,
    },
}

impl Presented {
    /// # Errors
    /// The first certificate that cannot be served.
    pub(super) fn load(tables: &[Certificate], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let mut entries = Vec::with_capacity(tables.len());
        for table in tables {
            let files = Watched::new([table.cert.clone(), table.key.clone()]);
            let loaded = Loaded::read(table, provider)?;
            entries.push(Entry {
                table: table.clone(),
                loaded,
                files,
            });
        }
        let self_signed = Arc::new(self_signed(provider)?);
        Ok(Self {
            choice: ArcSwap::from_pointee(choice(&entries, &self_signed)),
            entries: Mutex::new(entries),
            self_signed,
            provider: provider.clone(),
        })
    }

    /// Looks at the files, and takes what has changed. Reads files: not for a task.
    pub(super) fn look_again(&self) -> Vec<Replaced> {
        let mut entries = self.entries.lock();
        let mut found = Vec::new();
        for entry in entries.iter_mut() {
            let Some(stamp) = entry.files.look() else {
                continue;
            };
            let name = entry.table.name.clone();
            match Loaded::read(&entry.table, &self.provider) {
                Ok(loaded) => {
                    entry.files.took(stamp);
                    let validity = loaded.validity;
                    entry.loaded = loaded;
                    found.push(Replaced::Taken { name, validity });
                }
                Err(error) => {
                    if entry.files.refused(&crate::error_chain(&error)) == Complaint::New {
                        found.push(Replaced::Refused { name, error });
                    }
                }
            }
        }
        if found.iter().any(|one| matches!(one, Replaced::Taken { .. })) {
            self.choice.store(Arc::new(choice(&entries, &self.self_signed)));
        }
        found
    }

    /// Each certificate and its time.
    pub(super) fn validities(&self) -> Vec<(CertificateName, Validity)> {
        let entries = self.entries.lock();
        entries
            .iter()
            .map(|entry| (entry.table.name.clone(), entry.loaded.validity))
            .collect()
    }

    pub(super) fn may_show_self_signed(&self) -> bool {
        self.choice.load().may_show_self_signed()
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choice.load().choose(hello.server_name()))
    }
}

fn choice(entries: &[Entry], self_signed: &Arc<CertifiedKey>) -> Choice {
    let loaded: Vec<&Loaded> = entries.iter().map(|entry| &entry.loaded).collect();
    Choice::of(&loaded, Arc::clone(self_signed))
}
