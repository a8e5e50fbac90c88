package api

import (
	"gantry/async"
	"gantry/auth"
	fncontext "gantry/context"
	"gantry/instance"
	"gantry/logger"
	"gantry/metrics"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// PlatformConfig is what the platform API needs.
type PlatformConfig struct {
	Addr     string
	Instance *instance.Instance
	Function *fncontext.Function
	// Credentials are handed to the function; those of callers never are.
	Credentials fncontext.Credentials
	Gate        *auth.Gate
	// Queue takes asynchronous calls; nil if there is none, and NoQueue then says why.
	Queue   *async.Queue
	NoQueue string
	// Local says that the address must be one of loopback: what else guards the listener relies on it.
	Local bool
	// Certificate turns TLS on; nil for plain HTTP.
	Certificate *Certificate
	// BehindProxy says that a proxy ends TLS: hosts are not checked, and the peer comes from X-Forwarded-For.
	BehindProxy bool
	// GatewayTimeout ends the wait of a caller as the platform's gateway does, not the call; zero means never.
	GatewayTimeout time.Duration
	Metrics        *metrics.Metrics
	// Limits is shared by all listeners of an agent; nil for limits of its own.
	Limits *Limits
	Log    *zap.Logger
}

type platformAPI struct {
	*PlatformConfig
	routes table[access]
	// local callers see hints and the worker's last lines.
	local bool
	// audit is the log that drops nothing; Log is sampled.
	audit     *zap.Logger
	forwarded *forwarded
	// causes of 503 answers, which callers do not get.
	causes *logger.Causes
}

// exchange is one request on its way through the platform API.
type exchange struct {
	ctx  *fasthttp.RequestCtx
	id   string
	peer netip.Addr
	// route is nil where there is none, caller where none was let in.
	route  *row[access]
	caller *auth.Caller
	// urn is set on routes of the function.
	urn fncontext.URN
}

// access is what the platform API keeps for a route. docs/openapi.json is held against the table by a test.
type access struct {
	// action is what the caller must be allowed to do; empty for routes that only need a caller.
	action auth.Action
	// open routes need no credentials.
	open bool
	// general routes answer FSS.0404 for whatever does not exist, where calling it has a code for each.
	general bool
	// numbered routes give the request its final id, so they write its audit line themselves.
	numbered bool
	// limit is the largest body in bytes.
	limit int
	serve func(*platformAPI, *exchange)
}
