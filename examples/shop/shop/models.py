"""The tables of the shop."""

import datetime
import decimal
import uuid
from typing import Any

from sqlalchemy import (
    UUID,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Staff(Base):
    __tablename__ = "staff"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    is_admin: Mapped[bool] = mapped_column(server_default=false())


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(120))
    phone: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=func.now())
    default_address_id: Mapped[int | None] = mapped_column(
        ForeignKey(
            "addresses.id",
            name="fk_customers_default_address_id",
            ondelete="SET NULL",
            use_alter=True,
        ),
        index=True,
    )

    addresses: Mapped[list["Address"]] = relationship(
        back_populates="customer", foreign_keys="Address.customer_id"
    )
    orders: Mapped[list["Order"]] = relationship(back_populates="customer")


Index("uq_customers_email_lower", func.lower(Customer.email), unique=True)


class Address(Base):
    __tablename__ = "addresses"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(
        ForeignKey("customers.id", ondelete="CASCADE"), index=True
    )
    line1: Mapped[str] = mapped_column(String(200))
    line2: Mapped[str | None] = mapped_column(String(200))
    city: Mapped[str] = mapped_column(String(100))
    postcode: Mapped[str] = mapped_column(String(20))
    country: Mapped[str] = mapped_column(String(2))

    customer: Mapped[Customer] = relationship(
        back_populates="addresses", foreign_keys=[customer_id]
    )


class Category(Base):
    __tablename__ = "categories"
    __table_args__ = (
        Index("ix_categories_parent_id", "parent_id"),
        UniqueConstraint(
            "parent_id",
            "position",
            name="uq_categories_parent_id_position",
            deferrable=True,
            initially="DEFERRED",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("categories.id", name="fk_categories_parent_id", ondelete="SET NULL")
    )
    position: Mapped[int] = mapped_column(server_default="0")
    edited_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("staff.id", name="fk_categories_edited_by_id", ondelete="SET NULL"),
        index=True,
    )

    parent: Mapped["Category | None"] = relationship(
        back_populates="children", remote_side=[id]
    )
    children: Mapped[list["Category"]] = relationship(
        back_populates="parent", order_by="Category.position"
    )
    products: Mapped[list["Product"]] = relationship(back_populates="category")


class Product(Base):
    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("price >= 0", name="ck_products_price"),
        Index(
            "ix_products_attributes",
            "attributes",
            postgresql_using="gin",
            postgresql_ops={"attributes": "jsonb_path_ops"},
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(String(32), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text, server_default="")
    price: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2))
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=func.now())
    category_id: Mapped[int | None] = mapped_column(
        ForeignKey("categories.id", name="fk_products_category_id"), index=True
    )
    attributes: Mapped[dict[str, Any]] = mapped_column(
        JSONB, server_default=text("'{}'::jsonb")
    )
    edited_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("staff.id", name="fk_products_edited_by_id", ondelete="SET NULL"),
        index=True,
    )

    category: Mapped[Category | None] = relationship(back_populates="products")
    reviews: Mapped[list["Review"]] = relationship(back_populates="product")


class Coupon(Base):
    __tablename__ = "coupons"
    __table_args__ = (
        CheckConstraint("percent_off BETWEEN 1 AND 100", name="ck_coupons_percent_off"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(40), unique=True)
    percent_off: Mapped[int]
    expires_at: Mapped[datetime.datetime | None] = mapped_column(
        DateTime(timezone=True)
    )
    edited_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("staff.id", name="fk_coupons_edited_by_id", ondelete="SET NULL"),
        index=True,
    )


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(
            "status IN ('new', 'paid', 'packing', 'shipped', 'cancelled')",
            name="ck_orders_status",
        ),
        UniqueConstraint("public_id", name="uq_orders_public_id"),
        Index(
            "ix_orders_customer_id_created_at", "customer_id", text("created_at DESC")
        ),
        Index(
            "ix_orders_open",
            "created_at",
            postgresql_where=text("status = 'paid'"),
        ),
        Index("ix_orders_report", "status", "created_at", "customer_id", "total"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[uuid.UUID] = mapped_column(
        UUID, server_default=text("gen_random_uuid()")
    )
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    shipping_address_id: Mapped[int | None] = mapped_column(ForeignKey("addresses.id"))
    coupon_id: Mapped[int | None] = mapped_column(ForeignKey("coupons.id"))
    status: Mapped[str] = mapped_column(String(20), server_default="new", index=True)
    total: Mapped[decimal.Decimal] = mapped_column(Numeric(12, 2))
    created_at: Mapped[datetime.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), index=True
    )

    customer: Mapped[Customer] = relationship(back_populates="orders")
    items: Mapped[list["OrderItem"]] = relationship(
        back_populates="order", order_by="OrderItem.line_no"
    )


class OrderItem(Base):
    __tablename__ = "order_items"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="ck_order_items_quantity"),
        UniqueConstraint("order_id", "line_no", name="uq_order_items_order_id_line_no"),
        Index(
            "ix_order_items_product_id_quantity",
            "product_id",
            postgresql_include=["quantity"],
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    order_id: Mapped[int] = mapped_column(
        ForeignKey("orders.id", ondelete="CASCADE"), index=True
    )
    line_no: Mapped[int]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    unit_price: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2))

    order: Mapped[Order] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()


class Return(Base):
    __tablename__ = "returns"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="ck_returns_quantity"),
        ForeignKeyConstraint(
            ["order_id", "line_no"],
            ["order_items.order_id", "order_items.line_no"],
            name="fk_returns_order_line",
        ),
        Index("ix_returns_order_line", "order_id", "line_no"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int]
    line_no: Mapped[int]
    quantity: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    approved_by_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))

    item: Mapped[OrderItem] = relationship()


class Review(Base):
    __tablename__ = "reviews"
    __table_args__ = (
        CheckConstraint("rating BETWEEN 1 AND 5", name="ck_reviews_rating"),
        UniqueConstraint(
            "product_id", "customer_id", name="uq_reviews_product_id_customer_id"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(
        ForeignKey("products.id", ondelete="CASCADE"), index=True
    )
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    rating: Mapped[int] = mapped_column(SmallInteger)
    body: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=func.now())

    product: Mapped[Product] = relationship(back_populates="reviews")


class AuditEvent(Base):
    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_table_name_row_id", "table_name", "row_id"),
        {"schema": "audit"},
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    table_name: Mapped[str] = mapped_column(String(63))
    row_id: Mapped[int] = mapped_column(BigInteger)
    action: Mapped[str] = mapped_column(String(10))
    payload: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    happened_at: Mapped[datetime.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    customer_id: Mapped[int | None] = mapped_column(
        ForeignKey("customers.id", name="fk_events_customer_id", ondelete="SET NULL"),
        index=True,
    )
