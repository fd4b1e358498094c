package pgstore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"edgechain.example/aggregator/registry"
)

// errStandby means that the server cannot be written to, and what it shows may be old.
var errStandby = errors.New("it is a standby (pg_is_in_recovery), which keeps nothing: " +
	"name the primary in store.url, or all servers with target_session_attrs=read-write")

// answers is what a server said of how it keeps what is committed, in one session. "" is what it would not say.
type answers struct {
	user             string
	commit           string // synchronous_commit of the session
	fsync, pages     string
	synchronous      string // synchronous_standby_names
	standbys         []registry.Standby
	position         position
	unread, unlisted string // why that could not be read
}

// position is where a server's history stands. What is 0 could not be read.
type position struct {
	system   uint64
	timeline uint32
	end      uint64 // of what is on disk
}

// survey asks the server. Databases that speak PostgreSQL's protocol alone do not know all of it, and not every user may.
func survey(ctx context.Context, conn *pgx.Conn) (a *answers, err error) {
	a = new(answers)
	var recovery bool
	a.unread, err = ask(ctx, conn, []any{&recovery, &a.user, &a.commit, &a.fsync, &a.pages, &a.synchronous},
		`SELECT pg_is_in_recovery(), current_user::text, coalesce(current_setting('synchronous_commit', true), ''),
			coalesce(current_setting('fsync', true), ''), coalesce(current_setting('full_page_writes', true), ''),
			coalesce(current_setting('synchronous_standby_names', true), '')`)
	if err == nil && recovery {
		err = errStandby
	}
	if err != nil {
		return nil, err
	}
	// What follows a subscription is no standby, nor is a copy that is being made.
	var names, syncs []string
	a.unlisted, err = ask(ctx, conn, []any{&names, &syncs}, `SELECT coalesce(array_agg(name), '{}'), coalesce(array_agg(sync), '{}') FROM (
		SELECT coalesce(r.application_name, '') AS name, coalesce(r.sync_state, '') AS sync FROM pg_stat_replication r
		WHERE r.application_name <> 'pg_basebackup' AND NOT EXISTS (
			SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
		UNION ALL SELECT slot_name, 'away' FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active AND NOT temporary) all_of_them`)
	if err != nil {
		return nil, err
	}
	for i := range names {
		a.standbys = append(a.standbys, registry.Standby{Name: names[i], Sync: syncs[i]})
	}
	slices.SortFunc(a.standbys, func(a, b registry.Standby) int { return strings.Compare(a.Name+" "+a.Sync, b.Name+" "+b.Sync) })
	var system, end int64
	var file string
	if _, err = ask(ctx, conn, []any{&system}, "SELECT system_identifier FROM pg_control_system()"); err != nil {
		return nil, err
	}
	// A checkpoint's timeline lags behind that of a standby which has just taken over.
	if _, err = ask(ctx, conn, []any{&file, &end}, "SELECT pg_walfile_name(pg_current_wal_insert_lsn()), pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"); err != nil {
		return nil, err
	}
	a.position = position{system: uint64(system), end: uint64(end)}
	if len(file) >= 8 {
		_, _ = fmt.Sscanf(file[:8], "%X", &a.position.timeline)
	}
	return a, nil
}

// ask reads one row, or returns why the server would not say.
func ask(ctx context.Context, conn *pgx.Conn, into []any, query string) (unread string, err error) {
	err = conn.QueryRow(ctx, query, pgx.QueryExecModeExec).Scan(into...)
	if sqlState(err) != "" && !broken(err) {
		return err.Error(), nil
	}
	return "", err
}

// judge says why a crash, and why a failover, takes what is committed, and what else is to be said.
func (a *answers) judge() (crash, failover, notes []string) {
	say := func(to *[]string, format string, args ...any) { *to = append(*to, fmt.Sprintf(format, args...)) }
	const taken = "what was countersigned"
	if a.unread != "" {
		say(&notes, "how the server keeps what is committed cannot be read (%s): see to it that a crash or a failover takes nothing", a.unread)
		return nil, nil, notes
	}
	if a.fsync == "off" {
		say(&crash, "fsync is off, so a crash of the database's machine takes %s: set fsync = on in its postgresql.conf", taken)
	}
	if a.commit == "off" {
		say(&crash, "synchronous_commit is off in the aggregator's sessions, so a crash of the database takes %s: set it to on, in postgresql.conf or by ALTER ROLE %s SET synchronous_commit = on", taken, quoted(a.user))
	}
	if a.pages == "off" {
		say(&notes, "full_page_writes is off, so a crash of the database's machine may damage its tables: set it to on, unless its file system never writes half a page")
	}
	if a.unlisted != "" {
		say(&notes, "which standbys the database has cannot be read (%s): set synchronous_standby_names if it has any", a.unlisted)
	}
	var connected, behind, unknown []string
	for _, s := range a.standbys {
		name := quoted(s.Name)
		if !slices.Contains(connected, name) {
			connected = append(connected, name)
		}
		switch s.Sync {
		case "async":
			behind = append(behind, name)
		case "":
			unknown = append(unknown, name)
		}
	}
	all := strings.Join(connected, ", ")
	switch waits := a.commit != "off" && a.commit != "local"; {
	case a.synchronous == "" && len(connected) > 0:
		say(&failover, "the database has asynchronous standbys (%s), and a failover to one takes %s: set synchronous_standby_names = 'ANY 1 (%s)'", all, taken, all)
	case a.synchronous == "":
	case !waits:
		say(&failover, "synchronous_commit is %s in the aggregator's sessions, so commits wait for no standby and a failover takes %s: set it to on, by ALTER ROLE %s SET synchronous_commit = on", a.commit, taken, quoted(a.user))
	case a.commit == "remote_write":
		say(&failover, "synchronous_commit is remote_write in the aggregator's sessions, so a failover to a standby whose machine failed as well takes %s: set it to on, by ALTER ROLE %s SET synchronous_commit = on", taken, quoted(a.user))
	case len(behind) > 0:
		say(&notes, "the standbys %s are asynchronous, beside synchronous ones: a failover to one of them takes %s", strings.Join(behind, ", "), taken)
	case len(unknown) > 0:
		say(&notes, "which of the standbys %s are synchronous cannot be read: GRANT pg_monitor TO %s", strings.Join(unknown, ", "), quoted(a.user))
	}
	return crash, failover, notes
}

var plain = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// quoted is a name as SQL and synchronous_standby_names want it.
func quoted(name string) string {
	if plain.MatchString(name) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// since says what is another server or history than before, "" if nothing is, as far as can be told.
func (p position) since(before position) string {
	switch {
	case p.system != 0 && before.system != 0 && p.system != before.system:
		return fmt.Sprintf("another cluster answers: system identifier %d in place of %d", p.system, before.system)
	case p.timeline != 0 && before.timeline != 0 && p.timeline > before.timeline:
		return fmt.Sprintf("timeline %d in place of %d: a standby took over, or a backup was restored", p.timeline, before.timeline)
	case p.timeline != 0 && before.timeline != 0 && p.timeline < before.timeline:
		return fmt.Sprintf("timeline %d in place of %d: an older history answers, such as a former primary", p.timeline, before.timeline)
	case p.timeline == before.timeline && p.end != 0 && p.end < before.end:
		return "its history ends earlier than it did: it was set back"
	}
	return ""
}
