"""Queries of SQLAlchemy 2.0."""

from datetime import datetime

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import aliased

from app.models import Comment, Label, Post, Team, User, post_labels


def user_by_email(session, email="USER-42@example.org"):
    return session.scalars(select(User).where(func.lower(User.email) == email.lower())).first()


def user_by_handle(session, handle="handle-42"):
    return session.scalars(select(User).where(User.handle == handle)).one_or_none()


def members(session, team=12):
    return session.scalars(select(User).where(User.team_id == team, User.is_active)).all()


def post_by_slug(session, slug="post-1234"):
    statement = select(Post).where(Post.slug == slug)
    statement = statement.where(Post.status == "public")
    return session.execute(statement).scalar_one_or_none()


def slug_is_taken(session, slug="post-99"):
    return session.scalar(select(exists().where(Post.slug == slug)))


def newest_posts_of(session, author=99):
    statement = select(Post).where(Post.author_id == author)
    return session.scalars(statement.order_by(Post.published_at.desc()).limit(5)).all()


def posts_of(session, author=99):
    return session.scalars(select(Post).where(Post.author_id == author)).all()


def thread(session, post=17):
    return session.scalars(select(Comment).where(Comment.post_id == post).order_by(Comment.number)).all()


def comments_by(session, name="name-5"):
    return session.scalars(select(Comment).where(Comment.author_email == name)).all()


def rename(session, old="name-6", new="somebody"):
    session.execute(update(Comment).where(Comment.author_email == old).values(author_email=new))


def comments_from(session):
    other = aliased(Comment)
    return session.scalars(select(other).where(other.url.like("url-1234%"))).all()


def comments_of_url(session, url="url-77"):
    return session.scalars(select(Comment).where(Comment.url == url)).all()


def forget(session, before=datetime(2020, 1, 1, 0, 10)):
    session.execute(delete(Comment).where(Comment.written_at < before))


def posts_with(session, label=7):
    return session.execute(select(post_labels.c.post_id).where(post_labels.c.label_id == label)).all()


def team_of(session, handle="handle-3"):
    return session.scalars(select(Team).join(Team.users).where(User.handle == handle)).all()


def posts_in_team(session, team=3):
    statement = select(Post.id).join(Post.author).where(User.team_id == team)
    return session.execute(statement).all()


def label(session, id=3):
    return session.get(Label, id)


def public_posts(session):
    return session.scalars(select(Post).where(Post.status == "public").limit(10)).all()


def names_in(session, team=5):
    return [user.handle for user in session.get(Team, team).users]
