//! `roadstead.node.v1.NodeService`.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;
use roadstead_proto::{
    ErrorReason, Tag, UpstreamHost,
    node::v1::{
        AcquireFillRequest, AcquireFillResponse, AdoptContentsRequest, AdoptContentsResponse, ClaimGarbageRequest,
        ClaimGarbageResponse, ClaimJobRequest, ClaimJobResponse, ClaimScrubRequest, ClaimScrubResponse,
        ConfirmGarbageRequest, ConfirmGarbageResponse, GetCredentialRequest, GetCredentialResponse, GetLinksRequest,
        GetLinksResponse, GetRevisionRequest, GetRevisionResponse, ListGroupContentsRequest, ListGroupContentsResponse,
        RecordLinkRequest, RecordLinkResponse, RecordLinksRequest, RecordLinksResponse, RecordUsageRequest,
        RecordUsageResponse, RegistryToken, ReleaseFillRequest, ReleaseFillResponse, RenewFillsRequest,
        RenewFillsResponse, ReportCorruptionRequest, ReportCorruptionResponse, ReportJobRequest, ReportJobResponse,
        ReportNodeRequest, ReportNodeResponse, ReportTagRequest, ReportTagResponse, ReportUpstreamsRequest,
        ReportUpstreamsResponse, ResolveTagRequest, ResolveTagResponse, SignInRefusal, SignInRefused, SignInRequest,
        SignInResponse, WatchRequest, node_service_server::NodeService, sign_in_response,
    },
    time::{seconds, timestamp},
};
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tracing::{Instrument as _, info};

use crate::{
    api::{
        authenticate::caller,
        errors::{allow, from_use_case, parse, parse_optional, refusal},
        node::{convert, job, lease, report, stored, watch::WatchStream},
    },
    auth::{key_ring::KeyRing, seal::Sealer},
    clock::Clock,
    rules::{
        access::{Action, pull::PullRefused},
        audit::shown_name,
        identity::login_throttle::retry_after_seconds,
    },
    store::{Store, changes::Revision},
    usecases::{
        cache::{
            self,
            link::{Proof, Recorded},
        },
        cluster::{self, node::NodeRegistry},
        groups,
        identity::sign_in::{self, PullScope, SignIn},
        jobs::exchange::JobExchange,
        tags::{self, checks::TagChecks},
        upstreams::{self, report::UpstreamReports},
    },
    watch,
};

/// Events on their way to one watcher: one is being sent, one is ready.
const EVENTS_AHEAD: usize = 1;
/// Most characters of a node's name and version that are logged.
const MAX_NAME_CHARS: usize = 255;

/// When to try again while an issuer's keys cannot be fetched, in seconds: they are asked for again by then.
const KEYS_RETRY_SECONDS: i64 = 5;

/// The service.
pub struct Nodes {
    /// The database, and the present time.
    pub store: Store,
    pub clock: Clock,
    /// The nodes that call.
    pub registry: Arc<NodeRegistry>,
    /// The watches that they hold.
    pub watching: Watching,
    /// Sign-ins that they pass on.
    pub sign_in: SignIn,
    /// Checks of tags that they share.
    pub tag_checks: TagChecks,
    /// Signs the tickets that they show each other.
    pub keys: Arc<KeyRing>,
    /// Opens the credentials that they ask for.
    pub sealer: Arc<Sealer>,
    /// Time for which they keep content without links.
    pub gc_grace: Duration,
    /// Their reports about upstreams.
    pub upstreams: Arc<UpstreamReports>,
    /// Jobs that they do.
    pub jobs: Arc<JobExchange>,
}

/// The parts of a node's watch.
pub struct Watching {
    /// The source of events.
    pub watches: Arc<watch::Watches>,
    /// Ends all watches.
    pub stop: CancellationToken,
    /// The number of watchers, as a metric.
    pub watchers: Gauge,
}

/// Returns the request of a node; refuses other callers.
fn from_node<T>(request: Request<T>) -> Result<T, Status> {
    allow(&caller(&request)?, Action::ServeAsNode)?;
    Ok(request.into_inner())
}

#[tonic::async_trait]
impl NodeService for Nodes {
    type WatchStream = WatchStream;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<WatchStream>, Status> {
        let request = from_node(request)?;
        let shown = |text: &str| text.chars().take(MAX_NAME_CHARS).collect::<String>();
        info!(
            node.name = shown(&request.node_name),
            node.version = shown(&request.version),
            resume_revision = request.resume_revision,
            "a node watches"
        );
        groups::image_prefix::note_registry_url(&self.store, &request.registry_url).await.map_err(from_use_case)?;
        let seen = Revision { number: request.resume_revision, mark: request.resume_mark.clone() };
        let continues = self.registry.continues_from(&seen).await.map_err(from_use_case)?;
        // Before it is told anything that it could serve by: from here on a purge reckons with it.
        if let Some(watching) = report::watching_in(&request, self.clock.now_ms())? {
            self.registry.report(watching, seen.mark.clone()).await.map_err(from_use_case)?;
        }
        let (sender, events) = mpsc::channel(EVENTS_AHEAD);
        let have = if continues && !request.wants_snapshot { seen } else { Revision::default() };
        let watching = watch::watch(self.watching.watches.clone(), have, sender, self.watching.stop.clone());
        tokio::spawn(watching.in_current_span());
        Ok(Response::new(WatchStream::new(events, continues, self.watching.watchers.clone())))
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let request = from_node(request)?;
        let shown = shown_name(&request.username);
        let first = request.scopes.first().map(|scope| scope.name.clone()).unwrap_or_default();
        let scopes = request.scopes.into_iter().map(|s| PullScope { name: s.name, group_path: s.group_path }).collect();
        let sign_in = sign_in::Request {
            username: request.username,
            password: request.password.into(),
            scopes,
            anonymous_allowed: request.anonymous_allowed,
            client_address: request.client_address.clone(),
        };
        let result = match self.sign_in.sign_in(sign_in).await.map_err(from_use_case)? {
            Ok(signed_in) => sign_in_response::Result::Token(RegistryToken {
                token: signed_in.token,
                expires_in: seconds(signed_in.expires_in_seconds),
                issued_at: timestamp(signed_in.issued_at_ms),
                reusable_for: seconds(signed_in.reusable_seconds),
                guessable: signed_in.guessable,
            }),
            Err(refused) => {
                info!(
                    client.address = request.client_address,
                    user.name = shown,
                    repository.name = first,
                    reason = %refused,
                    "a sign-in was refused"
                );
                sign_in_response::Result::Refused(sign_in_refused(&refused))
            }
        };
        Ok(Response::new(SignInResponse { result: Some(result) }))
    }

    async fn resolve_tag(&self, request: Request<ResolveTagRequest>) -> Result<Response<ResolveTagResponse>, Status> {
        let request = from_node(request)?;
        let repository = convert::repository("repository", request.repository)?;
        let tag: Tag = parse("tag", &request.tag)?;
        let answer =
            tags::freshness::resolve(&self.store, &self.clock, &self.tag_checks, &repository, &tag, &request.node_id)
                .await
                .map_err(from_use_case)?;
        Ok(Response::new(convert::resolve_answer(&repository, &tag, answer)))
    }

    async fn report_tag(&self, request: Request<ReportTagRequest>) -> Result<Response<ReportTagResponse>, Status> {
        let request = from_node(request)?;
        let repository = convert::repository("repository", request.repository)?;
        let tag: Tag = parse("tag", &request.tag)?;
        let said = convert::outcome_in(request.outcome)?;
        let answer = tags::freshness::report(&self.store, &self.clock, &self.tag_checks, &repository, &tag, said)
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(convert::report_answer(&repository, &tag, answer)))
    }

    async fn get_links(&self, request: Request<GetLinksRequest>) -> Result<Response<GetLinksResponse>, Status> {
        let request = from_node(request)?;
        let repository = convert::repository("repository", request.repository)?;
        let found = cache::link::find(&self.store, &repository, &parse("digest", &request.digest)?)
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(GetLinksResponse {
            link: found.link.as_ref().map(Into::into),
            referenced: convert::links(&found.referenced),
            link_epoch: found.link_epoch,
            from_upstream: found.from_upstream,
            unlinked: convert::unlinked(&found.unlinked),
        }))
    }

    async fn record_link(&self, request: Request<RecordLinkRequest>) -> Result<Response<RecordLinkResponse>, Status> {
        let request = from_node(request)?;
        let repository = convert::repository("repository", request.repository)?;
        let link = convert::link_in(request.link)?;
        let references =
            request.references.into_iter().map(convert::descriptor_in).collect::<Result<Vec<_>, Status>>()?;
        let tag: Option<Tag> = parse_optional("tag", &request.tag)?;
        let proof = Proof { kind: convert::proof_in(request.proof)?, link_epoch: request.link_epoch };
        let recorded =
            cache::link::record(&self.store, &repository, &link, &references, tag.as_ref(), proof, self.clock.now_ms())
                .await;
        Ok(Response::new(match recorded.map_err(from_use_case)? {
            Recorded::Linked(found) => RecordLinkResponse {
                recorded: true,
                referenced: convert::links(&found.referenced),
                link_epoch: found.link_epoch,
                unconfirmed_for: seconds(found.unconfirmed_seconds),
                unlinked: convert::unlinked(&found.unlinked),
                ..RecordLinkResponse::default()
            },
            Recorded::Outdated => RecordLinkResponse { outdated: true, ..RecordLinkResponse::default() },
            Recorded::BeingDeleted => RecordLinkResponse::default(),
            Recorded::Unproven => RecordLinkResponse { unproven: true, ..RecordLinkResponse::default() },
        }))
    }

    async fn record_links(
        &self,
        request: Request<RecordLinksRequest>,
    ) -> Result<Response<RecordLinksResponse>, Status> {
        let request = from_node(request)?;
        let proven = convert::proven_links_in(request.links)?;
        let recorded = cache::link::record_blobs(&self.store, &proven, self.clock.now_ms()).await;
        let results = recorded.map_err(from_use_case)?.into_iter().map(convert::recorded_link).collect();
        Ok(Response::new(RecordLinksResponse { results }))
    }

    async fn get_revision(
        &self,
        request: Request<GetRevisionRequest>,
    ) -> Result<Response<GetRevisionResponse>, Status> {
        let request = from_node(request)?;
        let known = Revision { number: request.known_revision, mark: request.known_mark };
        self.registry.continues_from(&known).await.map_err(from_use_case)?;
        let revision = cache::link::revision(&self.store).await.map_err(from_use_case)?;
        Ok(Response::new(GetRevisionResponse { revision }))
    }

    async fn get_credential(
        &self,
        request: Request<GetCredentialRequest>,
    ) -> Result<Response<GetCredentialResponse>, Status> {
        let request = from_node(request)?;
        let host: UpstreamHost = parse("upstream", &request.upstream)?;
        let (found, credential_epoch) = upstreams::credential::get(&self.store, &self.sealer, &request.group_id, &host)
            .await
            .map_err(from_use_case)?;
        let (username, password) =
            found.map(|(username, password)| (username, password.expose_secret().to_owned())).unwrap_or_default();
        Ok(Response::new(GetCredentialResponse { username, password, credential_epoch }))
    }

    async fn record_usage(
        &self,
        request: Request<RecordUsageRequest>,
    ) -> Result<Response<RecordUsageResponse>, Status> {
        let request = from_node(request)?;
        let usage = request.usage.into_iter().map(convert::usage_in).collect::<Result<Vec<_>, Status>>()?;
        cache::usage::record(&self.store, &request.batch_id, &usage, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(RecordUsageResponse {}))
    }

    async fn claim_garbage(
        &self,
        request: Request<ClaimGarbageRequest>,
    ) -> Result<Response<ClaimGarbageResponse>, Status> {
        let request = from_node(request)?;
        let ClaimGarbageRequest { limit, node_id, store_id, void_earlier } = request;
        stored::ids(&[&node_id, &store_id])?;
        let claimed = cache::garbage::claim(
            &self.store,
            self.gc_grace,
            &node_id,
            &store_id,
            limit,
            void_earlier,
            self.clock.now_ms(),
        )
        .await
        .map_err(from_use_case)?;
        let digests = claimed.digests.iter().map(ToString::to_string).collect();
        Ok(Response::new(ClaimGarbageResponse { digests, claim_id: claimed.id }))
    }

    async fn confirm_garbage(
        &self,
        request: Request<ConfirmGarbageRequest>,
    ) -> Result<Response<ConfirmGarbageResponse>, Status> {
        let request = from_node(request)?;
        let digests = request.digests.iter().map(|digest| parse("digests", digest)).collect::<Result<Vec<_>, _>>()?;
        cache::garbage::confirm(&self.store, &request.claim_id, &digests).await.map_err(from_use_case)?;
        Ok(Response::new(ConfirmGarbageResponse {}))
    }

    async fn report_upstreams(
        &self,
        request: Request<ReportUpstreamsRequest>,
    ) -> Result<Response<ReportUpstreamsResponse>, Status> {
        let request = from_node(request)?;
        let reports = request.reports.into_iter().map(job::report_in).collect::<Result<Vec<_>, Status>>()?;
        let node = job::node_name(&request.node_name);
        self.upstreams.report(&request.batch_id, &node, reports).await.map_err(from_use_case)?;
        Ok(Response::new(ReportUpstreamsResponse {}))
    }

    async fn claim_job(&self, request: Request<ClaimJobRequest>) -> Result<Response<ClaimJobResponse>, Status> {
        let request = from_node(request)?;
        let job = self.jobs.claim(&request.id).await.map_err(from_use_case)?.ok_or_else(nobody_waits)?;
        Ok(Response::new(job::job(job)))
    }

    async fn report_job(&self, request: Request<ReportJobRequest>) -> Result<Response<ReportJobResponse>, Status> {
        let request = from_node(request)?;
        let report = job::job_report(request.report)?;
        if !self.jobs.report(&request.id, &report).await.map_err(from_use_case)? {
            return Err(nobody_waits());
        }
        Ok(Response::new(ReportJobResponse {}))
    }

    async fn report_node(&self, request: Request<ReportNodeRequest>) -> Result<Response<ReportNodeResponse>, Status> {
        let mut request = from_node(request)?;
        let mark = std::mem::take(&mut request.applied_mark);
        let report = report::report_in(request, self.clock.now_ms())?;
        self.registry.report(report, mark).await.map_err(from_use_case)?;
        Ok(Response::new(ReportNodeResponse {}))
    }

    async fn acquire_fill(
        &self,
        request: Request<AcquireFillRequest>,
    ) -> Result<Response<AcquireFillResponse>, Status> {
        let (digest, asker) = lease::asker_in(from_node(request)?)?;
        let turn = cluster::lease::acquire(&self.store, &self.keys, &digest, &asker, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(lease::turn(turn)))
    }

    async fn renew_fills(&self, request: Request<RenewFillsRequest>) -> Result<Response<RenewFillsResponse>, Status> {
        let request = from_node(request)?;
        let (node_id, fills) = (report::id_in(&request.node_id)?, lease::held_in(request.fills)?);
        let lost =
            cluster::lease::renew(&self.store, &node_id, fills, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(lease::lost(lost)))
    }

    async fn release_fill(
        &self,
        request: Request<ReleaseFillRequest>,
    ) -> Result<Response<ReleaseFillResponse>, Status> {
        let request = from_node(request)?;
        let node_id = report::id_in(&request.node_id)?;
        let fill = lease::one_in(request.fill.unwrap_or_default())?;
        cluster::lease::release(&self.store, &node_id, &fill).await.map_err(from_use_case)?;
        Ok(Response::new(ReleaseFillResponse {}))
    }

    async fn adopt_contents(
        &self,
        request: Request<AdoptContentsRequest>,
    ) -> Result<Response<AdoptContentsResponse>, Status> {
        let request = from_node(request)?;
        stored::ids(&[&request.store_id])?;
        let contents = stored::contents_in(request.contents)?;
        let answer = cache::garbage::adopt(&self.store, &request.store_id, &contents, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(stored::adopted(answer)))
    }

    async fn report_corruption(
        &self,
        request: Request<ReportCorruptionRequest>,
    ) -> Result<Response<ReportCorruptionResponse>, Status> {
        let request = from_node(request)?;
        stored::ids(&[&request.store_id])?;
        let noticed = request.corruptions.into_iter().map(stored::noticed_in).collect::<Result<Vec<_>, Status>>()?;
        let healed = stored::digests_in("healed_digests", &request.healed_digests)?;
        let recorded =
            cache::corruption::report(&self.store, &request.store_id, &noticed, &healed, self.clock.now_ms())
                .await
                .map_err(from_use_case)?;
        let recorded_digests = recorded.iter().map(ToString::to_string).collect();
        Ok(Response::new(ReportCorruptionResponse { recorded_digests }))
    }

    async fn claim_scrub(&self, request: Request<ClaimScrubRequest>) -> Result<Response<ClaimScrubResponse>, Status> {
        let request = from_node(request)?;
        let contents = cache::corruption::claim_scrub(&self.store, request.limit, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(ClaimScrubResponse { contents: stored::contents(contents) }))
    }

    async fn list_group_contents(
        &self,
        request: Request<ListGroupContentsRequest>,
    ) -> Result<Response<ListGroupContentsResponse>, Status> {
        let request = from_node(request)?;
        let after = parse_optional("after_digest", &request.after_digest)?;
        let (contents, total) =
            cache::corruption::contents_of_group(&self.store, &request.group_id, after.as_ref(), request.limit)
                .await
                .map_err(from_use_case)?;
        Ok(Response::new(ListGroupContentsResponse { contents: stored::contents(contents), total }))
    }
}

fn nobody_waits() -> Status {
    refusal(
        Code::NotFound,
        ErrorReason::NotFound,
        "another node has this job, or nobody waits for it any more: give it up",
    )
}

fn sign_in_refused(refused: &PullRefused) -> SignInRefused {
    let reason = match refused {
        PullRefused::TooManyFailures(_) => SignInRefusal::TooManyRequests,
        PullRefused::IssuerUnavailable(_) => SignInRefusal::Unavailable,
        PullRefused::WrongCredentials
        | PullRefused::IdToken(_)
        | PullRefused::SignInNeeded
        | PullRefused::DisabledUser { .. }
        | PullRefused::OtherToken { .. } => SignInRefusal::Unauthenticated,
        PullRefused::MissingScopes { .. } | PullRefused::MayNot { .. } | PullRefused::Disabled { .. } => {
            SignInRefusal::Denied
        }
        PullRefused::NotFound { .. } => SignInRefusal::NotFound,
    };
    let retry_after_seconds = match refused {
        PullRefused::TooManyFailures(problem) => retry_after_seconds(problem.retry_after),
        PullRefused::IssuerUnavailable(_) => KEYS_RETRY_SECONDS,
        _ => 0,
    };
    SignInRefused { reason: reason.into(), message: refused.to_string(), retry_after: seconds(retry_after_seconds) }
}
