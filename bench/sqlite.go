package main

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"unsafe"

	_ "github.com/mattn/go-sqlite3" // the driver
)

var sqliteSystem = &system{
	name:     "SQLite",
	settings: "mattn/go-sqlite3 (cgo), WAL mode, one connection, prepared statements, cache 64 MiB, 1 GiB mapped; indexes on entity, scope and kind",
	durable:  "synchronous=FULL",
	written:  "synchronous=NORMAL",
	survives: true,
	grouped:  true,
	open:     openSQLite,
}

const sqliteSchema = `
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, time INTEGER, entity TEXT, scope TEXT, kind INTEGER, payload BLOB);
CREATE INDEX IF NOT EXISTS by_entity ON events (entity);
CREATE INDEX IF NOT EXISTS by_scope ON events (scope);
CREATE INDEX IF NOT EXISTS by_kind ON events (kind);`

const sqliteColumns = "SELECT seq, time, entity, scope, kind, payload FROM events "

type sqliteStore struct {
	db      *sql.DB
	conn    *sql.Conn
	numbers sequencer
	group

	insert, get, timeOf, begin, end, undo *sql.Stmt
	queries                               map[string]*sql.Stmt // by condition
}

func openSQLite(dir string, c config) (store, error) {
	synchronous := "NORMAL"
	if c.durable {
		synchronous = "FULL"
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "events.db")+
		"?_journal_mode=WAL&_synchronous="+synchronous+"&_cache_size=-65536")
	if err != nil {
		return nil, err
	}
	s := &sqliteStore{db: db, queries: map[string]*sql.Stmt{}}
	s.commit = s.write
	if s.conn, err = db.Conn(context.Background()); err != nil {
		return nil, err
	}
	if _, err := s.conn.ExecContext(context.Background(), "PRAGMA mmap_size=1073741824;"+sqliteSchema); err != nil {
		return nil, err
	}
	return s, s.prepare()
}

// prepare makes the statements, and the numbering go on behind the newest event.
func (s *sqliteStore) prepare() error {
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&s.insert, "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"},
		{&s.get, sqliteColumns + "WHERE seq = ?"},
		{&s.timeOf, "SELECT time FROM events WHERE seq = ?"},
		{&s.begin, "BEGIN IMMEDIATE"}, {&s.end, "COMMIT"}, {&s.undo, "ROLLBACK"},
	} {
		var err error
		if *p.to, err = s.conn.PrepareContext(context.Background(), p.text); err != nil {
			return err
		}
	}
	err := s.conn.QueryRowContext(context.Background(), "SELECT seq, time FROM events ORDER BY seq DESC LIMIT 1").Scan(&s.numbers.position, &s.numbers.time)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

func (s *sqliteStore) write(parts [][]event) error {
	if len(parts) == 1 && len(parts[0]) == 1 {
		return s.put(parts[0])
	}
	if _, err := s.begin.Exec(); err != nil {
		return err
	}
	for _, es := range parts {
		if err := s.put(es); err != nil {
			_, undone := s.undo.Exec()
			return errors.Join(err, undone)
		}
	}
	_, err := s.end.Exec()
	return err
}

func (s *sqliteStore) put(es []event) error {
	s.numbers.take(es)
	for i := range es {
		e := &es[i]
		if _, err := s.insert.Exec(int64(e.Key.position()), e.Time, e.Entity, e.Scope, int64(e.Kind), e.Payload); err != nil {
			return err
		}
	}
	return nil
}

func (s *sqliteStore) Get(k key, e *event) error {
	rows, err := s.get.Query(int64(k.position()))
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return errors.Join(errors.New("no such event"), rows.Err())
	}
	err = scanRow(rows, e)
	e.Payload = append([]byte(nil), e.Payload...)
	return err
}

// scanRow makes e the event of a row, which it aliases.
func scanRow(rows *sql.Rows, e *event) error {
	var seq uint64
	var entity, scope, payload sql.RawBytes
	if err := rows.Scan(&seq, &e.Time, &entity, &scope, &e.Kind, &payload); err != nil {
		return err
	}
	e.Key, e.Payload = positionKey(seq), payload
	e.Entity = unsafe.String(unsafe.SliceData(entity), len(entity))
	e.Scope = unsafe.String(unsafe.SliceData(scope), len(scope))
	return nil
}

func (s *sqliteStore) timeAt(position uint64) (t int64, err error) {
	err = s.timeOf.QueryRow(int64(position)).Scan(&t)
	return t, err
}

func (s *sqliteStore) Query(q query, visit func(*event) error) error {
	condition, args := "seq > ?", []any{int64(q.After)}
	switch {
	case q.Entity != "":
		condition, args = "entity = ? AND seq > ?", []any{q.Entity, int64(q.After)}
	case q.Scope != "":
		condition, args = "scope = ? AND seq > ?", []any{q.Scope, int64(q.After)}
	case q.Kind != 0:
		condition, args = "kind = ? AND seq > ?", []any{int64(q.Kind), int64(q.After)}
	case q.Until != 0:
		from, err := firstAt(s.numbers.position, q.Since, s.timeAt)
		if err != nil {
			return err
		}
		args = []any{int64(from - 1)}
	}
	limit := int64(-1)
	if q.Limit > 0 {
		limit = int64(q.Limit)
	}
	statement, err := s.selecting(condition)
	if err != nil {
		return err
	}
	rows, err := statement.Query(append(args, limit)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var e event
	for rows.Next() {
		if err := scanRow(rows, &e); err != nil {
			return err
		}
		if q.Until != 0 && e.Time >= q.Until {
			return nil
		}
		if err := visit(&e); err != nil {
			return err
		}
	}
	return rows.Err()
}

// selecting returns the statement for a condition.
func (s *sqliteStore) selecting(condition string) (*sql.Stmt, error) {
	if statement := s.queries[condition]; statement != nil {
		return statement, nil
	}
	statement, err := s.conn.PrepareContext(context.Background(), sqliteColumns+"WHERE "+condition+" ORDER BY seq LIMIT ?")
	s.queries[condition] = statement
	return statement, err
}

func (s *sqliteStore) Close() error { return errors.Join(s.conn.Close(), s.db.Close()) }
