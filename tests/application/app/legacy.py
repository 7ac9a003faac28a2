"""A model of SQLAlchemy 1.4, and queries of its style."""

import datetime

import sqlalchemy as sa

from app.models import Base, Comment, Post, User


class Event(Base):
    __tablename__ = "events"

    id = sa.Column(sa.Integer, primary_key=True)
    key = sa.Column("session_token", sa.String(40), nullable=False)
    user_id = sa.Column(sa.Integer, nullable=False)
    name = sa.Column(sa.String(20), nullable=False)
    created = sa.Column(sa.DateTime, nullable=False)


class Setting(Base):
    __tablename__ = "settings"
    __table_args__ = (sa.Index("ux_settings_name", "name", unique=True),)

    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String(40), nullable=False, unique=True)
    value = sa.Column(sa.String(80))


def setting(session, name="setting-7"):
    return session.query(Setting).filter(Setting.name == name).one_or_none()


def events_of_session(session, key="key-77"):
    return session.query(Event).filter(Event.key == key).all()


def events_of_user(session, user=4711, name=None):
    query = session.query(Event).filter_by(user_id=user)
    if name is not None:
        query = query.filter(Event.name == name)
    return query.all()


def newest_event(session):
    return session.query(Event).order_by(Event.created.desc()).first()


def forget_events(session, before=datetime.datetime(2020, 1, 1, 0, 20)):
    session.query(Event).filter(Event.created < before).delete(synchronize_session=False)


def comments_of_author(session, handle="handle-9"):
    return (
        session.query(Comment)
        .join(Post, Comment.post_id == Post.id)
        .join(User)
        .filter(User.handle == handle)
        .all()
    )


def comment(session, post=17, number=3):
    return session.query(Comment).filter_by(post_id=post, number=number).one_or_none()
